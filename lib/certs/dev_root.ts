/**
 * The development root: compiled in, so that two processes trust each other without a word. Its key is in every
 * copy of this program, so whoever trusts it trusts everybody: it is for FAKE_CA and tests only.
 * @module
 */

/** ECDSA P-256, self-signed, 2020 to 2049. */
export const DEV_ROOT_PEM = `-----BEGIN CERTIFICATE-----
MIIB2zCCAYCgAwIBAgIQFiafBGmI5Wyjl+9XjwJeMjAKBggqhkjOPQQDAjBNMRww
GgYDVQQKExN6dHVubmVsIGRldmVsb3BtZW50MS0wKwYDVQQDEyREZXZlbG9wbWVu
dCByb290IHdob3NlIGtleSBpcyBwdWJsaWMwHhcNMjAwMTAxMDAwMDAwWhcNNDkx
MjMxMjM1OTU5WjBNMRwwGgYDVQQKExN6dHVubmVsIGRldmVsb3BtZW50MS0wKwYD
VQQDEyREZXZlbG9wbWVudCByb290IHdob3NlIGtleSBpcyBwdWJsaWMwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAATno3Z2WEyln+2yhSGI0FuPWg+DWkI1nLIF/LRN
uLOjvcHX5/Vl+TiTes0nxdrwFA9n6C3PKMtgqHo/Pjd9V//Mo0IwQDAPBgNVHRMB
Af8EBTADAQH/MA4GA1UdDwEB/wQEAwIBBjAdBgNVHQ4EFgQUmFjUV9zUNDPfNU8x
EVO9ee74m7owCgYIKoZIzj0EAwIDSQAwRgIhAIcT9LgWG4qNK73EHd3bt7y5rwdn
me8sdWudJ+/N2+sKAiEAi5Qx8mBisf+eak9LkyElSr86QvIlpAjB1zUSXaWfr2Y=
-----END CERTIFICATE-----
`;

/** PKCS#8. */
export const DEV_ROOT_KEY_PEM = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg2ZxNTp0ELmXGscCf
xxCXlBfL+/3jst88TulK9E7v9HChRANCAATno3Z2WEyln+2yhSGI0FuPWg+DWkI1
nLIF/LRNuLOjvcHX5/Vl+TiTes0nxdrwFA9n6C3PKMtgqHo/Pjd9V//M
-----END PRIVATE KEY-----
`;
