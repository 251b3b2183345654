import { randomBytes } from "node:crypto";
import { AwsError, notFound } from "./errors";

export interface Thing {
  readonly type: string;
  readonly id: string;
  readonly properties: Readonly<Record<string, unknown>>;
}

/** What the account has besides node groups: it is kept, and a name is taken once. Asked by the stand-in plugin only, not as AWS is. */
export class Things {
  readonly #things = new Map<string, Thing>();

  all(): readonly Thing[] {
    return [...this.#things.values()];
  }

  answer(method: string, type: string, id: string | undefined, properties: Readonly<Record<string, unknown>>): Thing {
    if (method === "POST") return this.#create(type, properties);
    const key = `${type}/${id}`;
    const found = this.#things.get(key);
    if (found === undefined) throw notFound(`there is no ${type} ${id}`);
    if (method === "DELETE") this.#things.delete(key);
    if (method !== "PUT") return found;
    const changed = { ...found, properties };
    this.#things.set(key, changed);
    return changed;
  }

  #create(type: string, properties: Readonly<Record<string, unknown>>): Thing {
    const { name, id: wanted } = properties;
    if (this.all().some((one) => one.type === type && name !== undefined && one.properties.name === name)) {
      throw new AwsError(409, "AlreadyExists", `a ${type} named ${String(name)} exists`);
    }
    const id = typeof wanted === "string" ? wanted : `${type}-${randomBytes(6).toString("hex")}`;
    const thing = { type, id, properties };
    this.#things.set(`${type}/${id}`, thing);
    return thing;
  }
}
