// The program of the threads that scan, pack and restore.
import { packHandlers } from "./pack-work";
import { serveTasks } from "./serve";

serveTasks({
  echo: (text) => text,
  ...packHandlers(),
});
