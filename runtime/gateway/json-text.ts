/**
 * Reading and editing JSON as text. ComfyUI's JSON is Python's: seeds are integers of 64 bits, floats keep their `.0`, and
 * `NaN` may occur. `JSON.parse` would round the first, change the second and refuse the third, so what a gateway passes on
 * is cut and edited as text and never parsed and written anew.
 */

/** A part of a JSON text: `[start, end)`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

export interface Member extends Span {
  readonly key: string;
}

/** A file as ComfyUI's answers name it. */
export interface FileReference {
  readonly filename: string;
  readonly subfolder: string;
  readonly type: string;
}

/** The members of the object that the text is, each with the span of its value. Throws a SyntaxError for anything else. */
export function members(text: string): readonly Member[] {
  const found: Member[] = [];
  let at = skipSpace(text, 0);
  expect(text, at, "{");
  at = skipSpace(text, at + 1);
  while (text[at] !== "}") {
    const keyEnd = endOfString(text, at);
    const key = JSON.parse(text.slice(at, keyEnd)) as string;
    at = skipSpace(text, keyEnd);
    expect(text, at, ":");
    const start = skipSpace(text, at + 1);
    const end = endOfValue(text, start);
    found.push({ key, start, end });
    at = nextItem(text, end, "}");
  }
  return found;
}

/** The spans of the elements of the array that the text is. Throws a SyntaxError for anything else. */
export function elements(text: string): readonly Span[] {
  const found: Span[] = [];
  let at = skipSpace(text, 0);
  expect(text, at, "[");
  at = skipSpace(text, at + 1);
  while (text[at] !== "]") {
    const end = endOfValue(text, at);
    found.push({ start: at, end });
    at = nextItem(text, end, "]");
  }
  return found;
}

/** The text of an object's member, or null where it has none. Of two with one name the last counts, as in Python. */
export function memberText(text: string, key: string): string | null {
  const member = members(text).findLast((candidate) => candidate.key === key);
  return member === undefined ? null : text.slice(member.start, member.end);
}

/** Sets a member of an object by appending it: of two with one name the last counts, for ComfyUI as for JSON.parse. */
export function withMember(text: string, key: string, value: unknown): string {
  const close = text.lastIndexOf("}");
  const empty = members(text).length === 0;
  return `${text.slice(0, close)}${empty ? "" : ", "}${JSON.stringify(key)}: ${JSON.stringify(value)}${text.slice(close)}`;
}

/** The string that a JSON text is, or null when it is something else. */
export function stringOf(text: string | null): string | null {
  return text?.startsWith('"') ? (JSON.parse(text) as string) : null;
}

/**
 * Changes the `subfolder` of every object that has `filename`, `subfolder` and `type` as strings, at any depth.
 * @param replace gives the new subfolder, or null to leave it.
 */
export function rewriteFileReferences(text: string, replace: (file: FileReference) => string | null): string {
  const edits: (Span & { readonly replacement: string })[] = [];
  const open: OpenContainer[] = [];
  for (let at = 0; at < text.length; ) {
    const container = open.at(-1);
    switch (text[at]) {
      case '"': {
        const end = endOfString(text, at);
        if (container?.isObject) {
          if (container.key === null) container.key = text.slice(at + 1, end - 1);
          else if (container.key in container.strings) {
            container.strings[container.key as keyof FileReference] = { start: at, end };
          }
        }
        at = end;
        continue;
      }
      case "{":
      case "[":
        open.push({ isObject: text[at] === "{", key: null, strings: { filename: null, subfolder: null, type: null } });
        break;
      case ",":
        if (container !== undefined) container.key = null;
        break;
      case "}":
      case "]": {
        const { filename, subfolder, type } = open.pop()?.strings ?? {};
        if (filename && subfolder && type) {
          const read = (span: Span) => JSON.parse(text.slice(span.start, span.end)) as string;
          const replacement = replace({ filename: read(filename), subfolder: read(subfolder), type: read(type) });
          if (replacement !== null) edits.push({ ...subfolder, replacement: JSON.stringify(replacement) });
        }
        break;
      }
    }
    at += 1;
  }
  let result = "";
  let done = 0;
  for (const edit of edits.sort((a, b) => a.start - b.start)) {
    result += text.slice(done, edit.start) + edit.replacement;
    done = edit.end;
  }
  return result + text.slice(done);
}

interface OpenContainer {
  readonly isObject: boolean;
  /** Null where a key comes next. */
  key: string | null;
  readonly strings: Record<keyof FileReference, Span | null>;
}

function endOfValue(text: string, start: number): number {
  const first = text[start];
  if (first === '"') return endOfString(text, start);
  if (first !== "{" && first !== "[") {
    let end = start;
    while (end < text.length && !",]} \n\r\t".includes(text.charAt(end))) end += 1;
    if (end === start) throw unexpected(text, start, "a value");
    return end;
  }
  let depth = 0;
  for (let at = start; at < text.length; ) {
    const character = text[at];
    if (character === '"') {
      at = endOfString(text, at);
      continue;
    }
    if (character === "{" || character === "[") depth += 1;
    if (character === "}" || character === "]") depth -= 1;
    at += 1;
    if (depth === 0) return at;
  }
  throw unexpected(text, text.length, "the end of what was opened");
}

function endOfString(text: string, start: number): number {
  expect(text, start, '"');
  for (let at = start + 1; ; ) {
    const quote = text.indexOf('"', at);
    if (quote < 0) throw unexpected(text, text.length, "the end of a string");
    let backslashes = 0;
    while (text[quote - 1 - backslashes] === "\\") backslashes += 1;
    if (backslashes % 2 === 0) return quote + 1;
    at = quote + 1;
  }
}

function nextItem(text: string, end: number, close: string): number {
  const at = skipSpace(text, end);
  if (text[at] === close) return at;
  expect(text, at, ",");
  return skipSpace(text, at + 1);
}

function skipSpace(text: string, start: number): number {
  let at = start;
  while (at < text.length && " \n\r\t".includes(text.charAt(at))) at += 1;
  return at;
}

function expect(text: string, at: number, character: string): void {
  if (text[at] !== character) throw unexpected(text, at, character);
}

function unexpected(text: string, at: number, wanted: string): SyntaxError {
  return new SyntaxError(`JSON has ${at < text.length ? JSON.stringify(text[at]) : "its end"} at ${at}, not ${wanted}`);
}
