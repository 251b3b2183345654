// The program of the threads that scan, pack and restore.
import { packHandlers } from "./pack-work";
import { RestoreWork } from "./restore-work";
import { serveTasks } from "./serve";
import { walkFolder } from "./walk";

serveTasks({
  echo: (text) => text,
  walk: walkFolder,
  ...packHandlers(),
  ...new RestoreWork().handlers,
});
