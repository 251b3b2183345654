// The program of the threads that scan, pack and restore.
import { serveTasks } from "./serve";
import { FrameWriter } from "./write-frames";

const frames = new FrameWriter();

serveTasks({
  echo: (text) => text,
  "write-frames": (request) => {
    frames.write(request);
    return null;
  },
});
