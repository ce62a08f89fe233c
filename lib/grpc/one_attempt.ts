import type { ChannelCredentials } from "@grpc/grpc-js";

/** What grpc-js asks of credentials for each address that it dials; its types do not tell of it. */
interface Connecting {
  _createSecureConnector?: (...args: unknown[]) => { waitForReady: () => Promise<void> };
}

/**
 * The same credentials, good for one connection per address. A failed channel that is closed dials once more a second
 * later (grpc-js 1.14.7: the picker has asked for it before anybody could close), which would double the load on a
 * control plane in trouble.
 */
export function oneAttempt(credentials: ChannelCredentials): ChannelCredentials {
  const connecting = credentials as unknown as Connecting;
  const create = connecting._createSecureConnector?.bind(credentials);
  if (create === undefined) return credentials;
  connecting._createSecureConnector = (...args) => {
    const connector = create(...args);
    const ready = connector.waitForReady.bind(connector);
    let wasUsed = false;
    connector.waitForReady = () => {
      if (wasUsed) return Promise.reject(new Error("this channel has had its attempt"));
      wasUsed = true;
      return ready();
    };
    return connector;
  };
  return credentials;
}
