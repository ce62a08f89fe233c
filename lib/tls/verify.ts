export class CertificateError extends Error {
  override readonly name = "CertificateError";
  constructor(readonly code: string, message: string) {
    super(message);
  }
}
export function verifyPeer(): never {
  throw new Error("not written");
}
