import type { WalkedFolder } from "../folder-walk";
import type { CheckedPack, CheckPack } from "./check-pack";
import type { CopiedFiles, CopyFiles } from "./copy-files";
import type { LookAtEntries, Looks } from "./look";
import type { LookAgain } from "./look-again";
import type { PackTasks } from "./pack-tasks";
import type { PlacedFiles, PlaceFiles } from "./place-files";
import type { FolderTask } from "./walk";
import type { WriteFrames } from "./write-frames";

/**
 * What threads do, by name. A task's request and result are cloned from one thread to another, so they hold plain data, buffers and
 * shared memory only. What may well happen, such as a file that changed meanwhile, is a result; an error ends the whole work.
 */
export interface ThreadTasks extends PackTasks {
  /** Answers with what it was given: shows that the thread is up. */
  readonly echo: ThreadTask<string, string>;
  /** Looks through a folder. */
  readonly walk: ThreadTask<FolderTask, WalkedFolder>;
  /** Whether a tree is still as it was, as far as no other thread looks. */
  readonly "look-again": ThreadTask<LookAgain, boolean>;
  /** Whether a pack and frames in it are what they should be. */
  readonly "check-pack": ThreadTask<CheckPack, CheckedPack>;
  /** What is there of some entries of a folder. */
  readonly "look-at-entries": ThreadTask<LookAtEntries, Looks>;
  /** Links or copies files of a complete restore. */
  readonly "place-files": ThreadTask<PlaceFiles, PlacedFiles>;
  /** Copies files of a complete restore, each compared with its hash. */
  readonly "copy-files": ThreadTask<CopyFiles, CopiedFiles>;
  /** Writes what frames of a pack hold to new files. */
  readonly "write-frames": ThreadTask<WriteFrames, null>;
}

export interface ThreadTask<Request, Result> {
  readonly request: Request;
  readonly result: Result;
}

export type TaskName = keyof ThreadTasks;
export type RequestOf<Name extends TaskName> = ThreadTasks[Name]["request"];
export type ResultOf<Name extends TaskName> = ThreadTasks[Name]["result"];

/** A result together with the buffers in it that are handed over instead of copied. */
export class Transferred<Result> {
  constructor(
    readonly result: Result,
    readonly buffers: readonly ArrayBuffer[],
  ) {}
}

export type TaskHandlers = {
  readonly [Name in TaskName]: (request: RequestOf<Name>) => ResultOf<Name> | Transferred<ResultOf<Name>>;
};

/** From the owner to a thread. */
export interface ToThread {
  readonly id: number;
  readonly name: TaskName;
  readonly request: unknown;
}

/** From a thread to its owner. */
export type FromThread =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly error: ThreadError };

/** An error as it passes between threads, where classes are lost. */
export interface ThreadError {
  readonly name: string;
  readonly message: string;
  readonly code: string | undefined;
  readonly stack: string | undefined;
  readonly cause: ThreadError | undefined;
}
