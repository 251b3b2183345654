import type { Machine } from "./machine";

/** A command's count, from its option: a whole number from 1. */
export function countIn(option: string, text: string | undefined, usual: number): number {
  const count = Number(text ?? usual);
  if (!Number.isInteger(count) || count < 1) throw new Error(`--${option} takes a number from 1, not ${text}`);
  return count;
}

/** Which metrics are wanted: those whose names begin as one of `only` says, or all. */
export function wantedOf<Id extends string>(
  goals: readonly { readonly id: Id }[],
  only: readonly string[],
  usage: string,
): (id: Id) => boolean {
  for (const prefix of only) {
    if (!goals.some(({ id }) => id.startsWith(prefix))) throw new Error(`--only ${prefix}: no such metric\n${usage}`);
  }
  return (id) => only.length === 0 || only.some((prefix) => id.startsWith(prefix));
}

export function sayWhetherIdle({ load }: Pick<Machine, "load">, say: (line: string) => void): void {
  if (load > 0.5) say(`the machine is not idle (load ${load.toFixed(1)}): the numbers will be noisy`);
}
