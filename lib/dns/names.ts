/**
 * Which mesh names a question may mean (behaviour.md 11.4).
 * @module
 */

/** A name to look up, and what to tell the asker if it hits. */
export interface Alias {
  readonly name: string;
  /** The asked name without its search domain: the alias answers under this name, by a CNAME. */
  readonly stripped?: string;
}

export interface Search {
  readonly name: string;
  readonly namespace: string;
  readonly clusterDomain: string;
  readonly searchDomains: readonly string[];
}

/** What a cluster's resolv.conf searches, which the asker's resolver may have appended before asking us. */
export function clusterSearchDomains(namespace: string, clusterDomain: string): readonly string[] {
  return [`${namespace}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain];
}

/** Every name that the question may mean, best first, without repetition. */
export function aliasesOf(search: Search): readonly Alias[] {
  const aliases = new Map<string, Alias>();
  const add = (alias: Alias) => {
    if (!aliases.has(alias.name)) aliases.set(alias.name, alias);
  };
  add({ name: search.name });
  for (const name of expansionsOf(search.name, search)) add({ name });
  for (const domain of search.searchDomains) {
    const suffix = `.${domain.toLowerCase()}`;
    if (!search.name.endsWith(suffix)) continue;
    const stripped = search.name.slice(0, -suffix.length);
    if (stripped === "") continue;
    add({ name: stripped, stripped });
    for (const name of expansionsOf(stripped, search)) add({ name, stripped });
  }
  return [...aliases.values()];
}

/** `*.b.c` and `*.c` for `a.b.c`: never `*` alone, which would be everybody. */
export function wildcardsOf(name: string): readonly string[] {
  const labels = name.split(".");
  return labels.slice(1).map((_, index) => `*.${labels.slice(index + 1).join(".")}`);
}

/** What Kubernetes understands by a short name in a namespace. */
function expansionsOf(name: string, { namespace, clusterDomain }: Search): readonly string[] {
  const labels = name.split(".");
  const endsInSvc = labels.at(-1) === "svc";
  switch (labels.length) {
    case 1:
      return [`${name}.${namespace}.svc.${clusterDomain}`];
    case 2:
      return [`${name}.svc.${clusterDomain}`, `${name}.${namespace}.svc.${clusterDomain}`];
    case 3:
      return endsInSvc
        ? [`${name}.${clusterDomain}`, `${name}.svc.${clusterDomain}`]
        : [`${name}.svc.${clusterDomain}`];
    case 4:
      return endsInSvc ? [`${name}.${clusterDomain}`] : [];
    default:
      return [];
  }
}
