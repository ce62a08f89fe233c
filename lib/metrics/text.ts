/**
 * The only place that knows prom-client: it writes names, escapes and values; we bring rows in pieces.
 * @module
 */
import { Counter, Gauge, Registry } from "prom-client";
import type { Family } from "./families.ts";

/** `openmetrics` is what ztunnel always serves; `text` is Prometheus' older form (behaviour.md 18.18). */
export type Format = "openmetrics" | "text";

export interface Sample {
  readonly labels: readonly string[];
  readonly value: number;
}

interface Value {
  readonly value: number;
  readonly labels: Readonly<Record<string, string>>;
}

/** One family's part of the text, piece after piece. */
export class FamilyText {
  readonly #family: Family;
  readonly #name: string;
  readonly #registry: Registry;
  readonly #isOpenMetrics: boolean;
  #values: Value[] = [];
  #hasHead = false;

  constructor(name: string, family: Family, format: Format) {
    this.#family = family;
    this.#isOpenMetrics = format === "openmetrics";
    // OpenMetrics names a counter's family without `_total`, the older form with it; prom-client adds it to samples.
    const isTotal = family.type === "counter" && !this.#isOpenMetrics;
    this.#name = isTotal ? `${name}_total` : name;
    this.#registry = registryFor(format);
    this.#registry.registerMetric(this.#metric());
  }

  /** Lines of these samples; HELP, TYPE and UNIT before the first. */
  async of(samples: readonly Sample[]): Promise<string> {
    this.#values = samples.map(({ labels, value }) => ({ value, labels: this.#named(labels) }));
    const text = await this.#registry.getSingleMetricAsString(this.#name);
    this.#values = [];
    const [help, type, rest] = headAndRest(text);
    if (this.#hasHead) return `${rest}\n`;
    this.#hasHead = true;
    const { unit } = this.#family;
    const head = [help, type];
    if (this.#isOpenMetrics && unit !== undefined) head.push(`# UNIT ${this.#name} ${unit}`);
    return `${head.join("\n")}\n${rest}\n`;
  }

  #named(labels: readonly string[]): Record<string, string> {
    const named: Record<string, string> = {};
    for (const [index, name] of this.#family.labels.entries()) named[name] = labels[index]!;
    return named;
  }

  /** A metric whose values are ours: prom-client's own table would be a second copy of every series. */
  #metric(): Counter | Gauge {
    const metric = new (this.#family.type === "counter" ? Counter : Gauge)({
      name: this.#name,
      help: this.#family.help,
      labelNames: [...this.#family.labels],
      registers: [],
    });
    const values = () => this.#values;
    return Object.assign(metric, {
      get: () =>
        Promise.resolve({
          name: this.#name,
          help: this.#family.help,
          type: this.#family.type,
          values: values(),
        }),
    });
  }
}

function registryFor(format: Format): Registry {
  const registry = new Registry();
  // Its type names one content type for the whole life of a registry; the value knows both.
  if (format === "openmetrics") {
    registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as typeof registry.contentType);
  }
  return registry;
}

function headAndRest(text: string): [help: string, type: string, rest: string] {
  const help = text.indexOf("\n");
  const type = text.indexOf("\n", help + 1);
  return [text.slice(0, help), text.slice(help + 1, type), text.slice(type + 1)];
}
