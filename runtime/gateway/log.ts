/** Receives one line for each event that a person wants to know of. */
export type Log = (line: string) => void;

/** Prints lines with their time. */
export const printLog: Log = (line) => {
  process.stdout.write(`${new Date().toISOString()} ${line}\n`);
};
