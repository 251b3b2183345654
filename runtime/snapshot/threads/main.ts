// The program of the threads that scan, pack and restore.
import { packHandlers } from "./pack-work";
import { serveTasks } from "./serve";
import { walkFolder } from "./walk";

serveTasks({
  echo: (text) => text,
  walk: walkFolder,
  ...packHandlers(),
});
