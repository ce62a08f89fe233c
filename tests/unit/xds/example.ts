/** Every field that a local mesh may have, in one file (behaviour.md 3.11). */
export const EXAMPLE = `\
workloads:
- uid: cluster-a//v1/Pod/shop/cart-7d4f
  name: cart-7d4f
  namespace: shop
  serviceAccount: cart
  trustDomain: cluster.local
  workloadIps: ["10.20.1.7", "fd00::7"]
  network: east
  hostname: ""
  node: worker-1
  protocol: HBONE
  networkMode: Standard
  nativeTunnel: false
  applicationTunnel: { protocol: PROXY, port: 15088 }
  waypoint: { destination: "east/10.20.9.9", hboneMtlsPort: 15008 }
  networkGateway: { destination: "infra/ew.example.org", hboneMtlsPort: 15009 }
  workloadName: cart
  workloadType: deployment
  canonicalName: cart
  canonicalRevision: v3
  clusterId: cluster-a
  locality: { region: eu, zone: eu-1, subzone: rack4 }
  authorizationPolicies: ["shop/only-frontend"]
  status: Healthy
  capacity: 1
  services:
    shop/cart.shop.svc.cluster.local: { 80: 8080 }
services:
- name: cart
  namespace: shop
  hostname: cart.shop.svc.cluster.local
  vips: ["east/10.96.0.20"]
  cidrVips: [ { network: east, cidr: 10.97.0.0/24 } ]
  ports: { 80: 0, 443: 8443 }
  endpoints: {}
  subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/cart"]
  waypoint: { destination: "shop/waypoint.shop.svc.cluster.local", hboneMtlsPort: 15008 }
  weightedWaypoints:
  - { destination: { destination: "east/10.20.9.9", hboneMtlsPort: 15008 }, weight: 90 }
  loadBalancer: { mode: Failover, routingPreferences: [Network, Region, Zone], healthPolicy: OnlyHealthy }
  ipFamilies: Dual
  canonical: true
  visibility: Public
policies:
- name: only-frontend
  namespace: shop
  scope: WorkloadSelector
  action: Allow
  dryRun: false
  rules:
  - - - principals: [ !Exact cluster.local/ns/web/sa/frontend ]
        notNamespaces: [ !Prefix test- ]
    - - destinationPorts: [8080]
        sourceIps: ["10.20.0.0/16"]
`;
