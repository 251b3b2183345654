import { checkPack } from "./check-pack";
import { copyFiles } from "./copy-files";
import { RangeReader } from "./frames";
import { lookAt } from "./look";
import { placeFiles } from "./place-files";
import { type TaskHandlers, Transferred } from "./tasks";
import { FrameWriter } from "./write-frames";

export type RestoreHandlers = Pick<
  TaskHandlers,
  "check-pack" | "copy-files" | "look-at-entries" | "place-files" | "write-frames"
>;

/** What a thread of a restore or a verification does. The pack that is read stays open until it is closed, or its thread ends. */
export class RestoreWork {
  readonly #reader = new RangeReader();
  readonly #writer = new FrameWriter(this.#reader);

  readonly handlers: RestoreHandlers = {
    "check-pack": (request) => checkPack(this.#reader, request),
    "look-at-entries": (request) => {
      const looks = lookAt(request);
      return new Transferred(looks, [looks.buffer]);
    },
    "copy-files": copyFiles,
    "place-files": placeFiles,
    "write-frames": (request) => {
      this.#writer.write(request);
      return null;
    },
  };

  close(): void {
    this.#reader.close();
  }
}
