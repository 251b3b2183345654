// The program of the threads that scan, pack and restore.
import { lookAgain } from "./look-again";
import { packHandlers } from "./pack-work";
import { RestoreWork } from "./restore-work";
import { serveTasks } from "./serve";
import { walkFolder } from "./walk";

serveTasks({
  echo: (text) => text,
  walk: walkFolder,
  "look-again": lookAgain,
  ...packHandlers(),
  ...new RestoreWork().handlers,
});
