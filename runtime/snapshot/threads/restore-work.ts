import { lookAt } from "./look";
import { placeFiles } from "./place-files";
import { type TaskHandlers, Transferred } from "./tasks";
import { FrameWriter } from "./write-frames";

export type RestoreHandlers = Pick<TaskHandlers, "look-at-entries" | "place-files" | "write-frames">;

/** What a thread of a restore does. The pack that is read stays open until it is closed, or its thread ends. */
export class RestoreWork {
  readonly #writer = new FrameWriter();

  readonly handlers: RestoreHandlers = {
    "look-at-entries": (request) => {
      const looks = lookAt(request);
      return new Transferred(looks, [looks.buffer]);
    },
    "place-files": placeFiles,
    "write-frames": (request) => {
      this.#writer.write(request);
      return null;
    },
  };

  close(): void {
    this.#writer.close();
  }
}
