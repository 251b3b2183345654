import { type FileReference, members, rewriteFileReferences } from "./json-text";

/**
 * Two instances give different pictures the same name, since ComfyUI counts per folder. A result's `subfolder` therefore
 * gets a first segment that names the instance it is on: `@r3-x7k2q~2f0/portraits`. Letters, digits, `.`, `_` and `-` of the
 * instance's id stand for themselves, every other byte is `~` and two hex digits, so that a mark needs no escaping in a URL's
 * path or query, in a file name, or in a workflow.
 */
const mark = /^@((?:[A-Za-z0-9._-]|~[0-9a-f]{2})+)(?:\/(.*))?$/s;

/** A subfolder that carries the instance it belongs to. */
export interface MarkedFolder {
  readonly instance: string;
  readonly subfolder: string;
}

export function markSubfolder(instance: string, subfolder: string): string {
  const name = [...Buffer.from(instance, "utf8")]
    .map((byte) => {
      const character = String.fromCharCode(byte);
      return /[A-Za-z0-9._-]/.test(character) ? character : `~${byte.toString(16).padStart(2, "0")}`;
    })
    .join("");
  return subfolder === "" ? `@${name}` : `@${name}/${subfolder}`;
}

/** The instance and the subfolder behind a mark, or null where there is none. */
export function readMark(subfolder: string): MarkedFolder | null {
  const [, name, rest] = mark.exec(subfolder) ?? [];
  if (name === undefined) return null;
  const bytes = name.replace(/~([0-9a-f]{2})|(.)/g, (_, hex: string | undefined, plain: string) =>
    hex === undefined ? plain.charCodeAt(0).toString(16).padStart(2, "0") : hex,
  );
  return { instance: Buffer.from(bytes, "hex").toString("utf8"), subfolder: rest ?? "" };
}

/** Marks the files that a message of an instance names. Inputs are the same on every instance and stay as they are. */
export function markMessage(text: string, instance: string): string {
  if (!text.includes('"subfolder"')) return text;
  return rewriteFileReferences(text, ({ type, subfolder }) =>
    type === "input" ? null : markSubfolder(instance, subfolder),
  );
}

/** Marks the files of a history record, except in `prompt`, which repeats what the client sent. */
export function markRecord(record: string, instance: string): string {
  return withoutPrompt(record, (text) => markMessage(text, instance));
}

/** The files on the instance that a history record names, each once; inputs are none. */
export function filesOfRecord(record: string): readonly FileReference[] {
  const found = new Map<string, FileReference>();
  withoutPrompt(record, (text) =>
    rewriteFileReferences(text, (file) => {
      if (file.type !== "input") found.set(JSON.stringify([file.type, file.subfolder, file.filename]), file);
      return null;
    }),
  );
  return [...found.values()];
}

function withoutPrompt(record: string, change: (text: string) => string): string {
  const prompt = members(record).findLast(({ key }) => key === "prompt");
  if (prompt === undefined) return change(record);
  // A placeholder keeps the rest one JSON text, whose objects are then seen whole.
  const [placeholder, kept] = ['"\u0000prompt"', record.slice(prompt.start, prompt.end)];
  const changed = change(`${record.slice(0, prompt.start)}${placeholder}${record.slice(prompt.end)}`);
  return changed.replace(placeholder, () => kept);
}
