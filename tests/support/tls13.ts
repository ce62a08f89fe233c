/**
 * Just enough TLS 1.3 (RFC 8446: X25519, TLS_AES_128_GCM_SHA256) to present any bytes as a certificate and sign with any
 * key, which no TLS library would do. It checks nothing of what the other side says.
 * @module
 */
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import type { Socket } from "node:net";
import { Buffer } from "node:buffer";

export interface Credentials {
  /** DER as it goes out, leaf first. */
  readonly chain: readonly Uint8Array[];
  /** P-256. */
  readonly key: KeyObject;
}

const SUITE = 0x1301;
const X25519 = 0x001d;
const ECDSA_P256_SHA256 = 0x0403;
const X25519_SPKI = Buffer.from("302a300506032b656e032100", "hex");
enum Type {
  clientHello = 1,
  serverHello = 2,
  encryptedExtensions = 8,
  certificate = 11,
  certificateRequest = 13,
  certificateVerify = 15,
  finished = 20,
}
const HANDSHAKE = 22;
const APPLICATION_DATA = 23;

const u8 = (value: number) => Buffer.of(value);
const u16 = (value: number) => Buffer.of(value >> 8, value & 0xff);
const u24 = (value: number) => Buffer.of(value >> 16, (value >> 8) & 0xff, value & 0xff);
const join = (...parts: readonly Uint8Array[]) => Buffer.concat(parts);
const vec8 = (...parts: readonly Uint8Array[]) => join(u8(join(...parts).length), ...parts);
const vec16 = (...parts: readonly Uint8Array[]) => join(u16(join(...parts).length), ...parts);
const vec24 = (...parts: readonly Uint8Array[]) => join(u24(join(...parts).length), ...parts);
const ext = (type: number, ...parts: readonly Uint8Array[]) => join(u16(type), vec16(...parts));
const message = (type: Type, ...parts: readonly Uint8Array[]) => join(u8(type), vec24(...parts));
const ALPN_H2 = ext(16, vec16(vec8(Buffer.from("h2"))));
const SIGNATURES = ext(13, vec16(...[0x0403, 0x0503, 0x0804, 0x0807].map(u16)));

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();
const hmac = (key: Uint8Array, bytes: Uint8Array) =>
  createHmac("sha256", key).update(bytes).digest();
function expand(secret: Uint8Array, label: string, context: Uint8Array, length: number): Buffer {
  const info = join(u16(length), vec8(Buffer.from(`tls13 ${label}`)), vec8(context));
  return hmac(secret, join(info, u8(1))).subarray(0, length);
}

/** One direction of protected records. */
class Sealer {
  readonly #key: Buffer;
  readonly #iv: Buffer;
  #count = 0n;
  constructor(secret: Uint8Array) {
    this.#key = expand(secret, "key", Buffer.alloc(0), 16);
    this.#iv = expand(secret, "iv", Buffer.alloc(0), 12);
  }
  seal(type: number, content: Uint8Array): Buffer {
    const head = join(u8(APPLICATION_DATA), u16(0x0303), u16(content.length + 17));
    const cipher = createCipheriv("aes-128-gcm", this.#key, this.#nonce());
    cipher.setAAD(head);
    const sealed = join(cipher.update(join(content, u8(type))), cipher.final());
    return join(head, sealed, cipher.getAuthTag());
  }
  open(head: Uint8Array, body: Uint8Array): { type: number; content: Buffer } {
    const decipher = createDecipheriv("aes-128-gcm", this.#key, this.#nonce());
    decipher.setAAD(head);
    decipher.setAuthTag(body.subarray(-16));
    const plain = join(decipher.update(body.subarray(0, -16)), decipher.final());
    let end = plain.length;
    while (plain[end - 1] === 0) end--;
    return { type: plain[end - 1]!, content: plain.subarray(0, end - 1) };
  }
  #nonce(): Buffer {
    const nonce = Buffer.from(this.#iv);
    const low = nonce.readBigUInt64BE(4);
    nonce.writeBigUInt64BE(low ^ this.#count++, 4);
    return nonce;
  }
}

/** An attacker's end of one connection. */
export class Tls13Attacker {
  /** Application data from the other side. */
  readonly heard: Buffer[] = [];
  /** Whether the other side has finished its handshake: it believes us. */
  believed = false;
  readonly over: Promise<void>;
  readonly #keys = generateKeyPairSync("x25519");
  #transcript: Buffer = Buffer.alloc(0);
  #bytes: Buffer = Buffer.alloc(0);
  #messages: Buffer = Buffer.alloc(0);
  #secrets: { handshake: Buffer; mine: Buffer; theirs: Buffer } | undefined;
  #reader: Sealer | undefined;
  #writer: Sealer | undefined;
  #nextReader: Sealer | undefined;

  constructor(
    private readonly socket: Socket,
    private readonly role: "client" | "server",
    private readonly credentials: Credentials,
  ) {
    socket.on("error", () => {});
    socket.on("data", (bytes: Buffer) => this.#receive(bytes));
    socket.on("end", () => socket.destroy());
    this.over = new Promise((resolve) => socket.once("close", () => resolve()));
    socket.resume();
    if (role === "client") this.#sendPlain(this.#clientHello());
  }

  #receive(bytes: Buffer): void {
    this.#bytes = join(this.#bytes, bytes);
    while (this.#bytes.length >= 5) {
      const end = 5 + this.#bytes.readUInt16BE(3);
      if (this.#bytes.length < end) return;
      const [head, body] = [this.#bytes.subarray(0, 5), this.#bytes.subarray(5, end)];
      this.#bytes = this.#bytes.subarray(end);
      if (head[0] === HANDSHAKE) this.#takeMessages(body);
      else if (head[0] === APPLICATION_DATA && this.#reader !== undefined) {
        const { type, content } = this.#reader.open(head, body);
        if (type === HANDSHAKE) this.#takeMessages(content);
        else if (type === APPLICATION_DATA) this.heard.push(content);
      }
    }
  }

  #takeMessages(bytes: Buffer): void {
    this.#messages = join(this.#messages, bytes);
    while (this.#messages.length >= 4) {
      const end = 4 + this.#messages.readUIntBE(1, 3);
      if (this.#messages.length < end) return;
      const whole = this.#messages.subarray(0, end);
      this.#messages = this.#messages.subarray(end);
      this.#take(whole);
    }
  }

  #take(whole: Buffer): void {
    if (this.believed) return;
    this.#transcript = join(this.#transcript, whole);
    switch (whole[0]) {
      case Type.clientHello:
        return this.#answer(whole);
      case Type.serverHello:
        return this.#agree(shareOf(whole, false));
      case Type.finished:
        this.believed = true;
        if (this.role === "client") this.#finishClient();
        else this.#reader = this.#nextReader;
    }
  }

  #clientHello(): Buffer {
    return message(
      Type.clientHello,
      u16(0x0303),
      randomBytes(32),
      vec8(),
      vec16(u16(SUITE)),
      vec8(u8(0)),
      vec16(
        ext(43, vec8(u16(0x0304))),
        ext(10, vec16(u16(X25519))),
        SIGNATURES,
        ext(51, vec16(u16(X25519), vec16(this.#publicKey()))),
        ALPN_H2,
      ),
    );
  }

  /** The server's whole flight. */
  #answer(hello: Buffer): void {
    const sessionId = hello.subarray(39, 39 + hello[38]!);
    this.#sendPlain(message(
      Type.serverHello,
      u16(0x0303),
      randomBytes(32),
      vec8(sessionId),
      u16(SUITE),
      u8(0),
      vec16(ext(43, u16(0x0304)), ext(51, u16(X25519), vec16(this.#publicKey()))),
    ));
    this.#agree(shareOf(hello, true));
    this.#sendSealed(message(Type.encryptedExtensions, vec16(ALPN_H2)));
    this.#sendSealed(message(Type.certificateRequest, vec8(), vec16(SIGNATURES)));
    this.#sendProof();
    this.#becomeReady();
  }

  #finishClient(): void {
    // The application's secrets end at the server's Finished, so they are made before our own flight.
    const [mine, theirs] = this.#applicationSecrets();
    this.#sendProof();
    this.#writer = new Sealer(mine);
    this.#reader = new Sealer(theirs);
    this.socket.write(this.#writer.seal(APPLICATION_DATA, Buffer.from("attack")));
  }

  #becomeReady(): void {
    const [mine, theirs] = this.#applicationSecrets();
    this.#writer = new Sealer(mine);
    this.#nextReader = new Sealer(theirs);
    this.socket.write(this.#writer.seal(APPLICATION_DATA, Buffer.from("attack")));
  }

  #agree(theirShare: Buffer): void {
    const publicKey = createPublicKey({
      key: join(X25519_SPKI, theirShare) as never,
      format: "der",
      type: "spki",
    });
    const shared = diffieHellman({ privateKey: this.#keys.privateKey, publicKey });
    const zeros = Buffer.alloc(32);
    const early = hmac(zeros, zeros);
    const handshake = hmac(expand(early, "derived", sha256(Buffer.alloc(0)), 32), shared);
    const [mine, theirs] = this.#bothSecrets(handshake, "hs traffic");
    this.#secrets = { handshake, mine, theirs };
    this.#writer = new Sealer(mine);
    this.#reader = new Sealer(theirs);
  }

  #applicationSecrets(): [Buffer, Buffer] {
    const salt = expand(this.#secrets!.handshake, "derived", sha256(Buffer.alloc(0)), 32);
    return this.#bothSecrets(hmac(salt, Buffer.alloc(32)), "ap traffic");
  }

  #bothSecrets(secret: Buffer, label: string): [Buffer, Buffer] {
    const context = sha256(this.#transcript);
    const client = expand(secret, `c ${label}`, context, 32);
    const server = expand(secret, `s ${label}`, context, 32);
    return this.role === "client" ? [client, server] : [server, client];
  }

  /** Certificate, CertificateVerify with the key that we have, Finished. */
  #sendProof(): void {
    const entries = this.credentials.chain.map((der) => join(vec24(der), vec16()));
    this.#sendSealed(message(Type.certificate, vec8(), vec24(...entries)));
    const signed = join(
      Buffer.alloc(64, 0x20),
      Buffer.from(`TLS 1.3, ${this.role} CertificateVerify\0`),
      sha256(this.#transcript),
    );
    const signature = sign("sha256", signed, this.credentials.key);
    this.#sendSealed(message(Type.certificateVerify, u16(ECDSA_P256_SHA256), vec16(signature)));
    const finishedKey = expand(this.#secrets!.mine, "finished", Buffer.alloc(0), 32);
    this.#sendSealed(message(Type.finished, hmac(finishedKey, sha256(this.#transcript))));
  }

  #publicKey(): Buffer {
    const spki = this.#keys.publicKey.export({ type: "spki", format: "der" }) as Buffer;
    return spki.subarray(-32);
  }

  #sendPlain(whole: Buffer): void {
    this.#transcript = join(this.#transcript, whole);
    this.socket.write(join(u8(HANDSHAKE), u16(0x0303), vec16(whole)));
  }

  #sendSealed(whole: Buffer): void {
    this.#transcript = join(this.#transcript, whole);
    this.socket.write(this.#writer!.seal(HANDSHAKE, whole));
  }
}

/** The X25519 key in a hello's key_share; a client's is a list. */
function shareOf(hello: Buffer, fromClient: boolean): Buffer {
  let at = 39 + hello[38]!;
  if (fromClient) {
    at += 2 + hello.readUInt16BE(at);
    at += 1 + hello[at]!;
  } else at += 3;
  for (at += 2; at < hello.length;) {
    const [type, length] = [hello.readUInt16BE(at), hello.readUInt16BE(at + 2)];
    const body = hello.subarray(at + 4, at + 4 + length);
    if (type === 51) {
      for (let i = fromClient ? 2 : 0; i < body.length; i += 4 + body.readUInt16BE(i + 2)) {
        const end = i + 4 + body.readUInt16BE(i + 2);
        if (body.readUInt16BE(i) === X25519) return body.subarray(i + 4, end);
      }
    }
    at += 4 + length;
  }
  throw new Error("the hello has no X25519 share");
}
