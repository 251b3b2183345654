// The program of the threads that scan, pack and restore.
import { RestoreWork } from "./restore-work";
import { serveTasks } from "./serve";

serveTasks({
  echo: (text) => text,
  ...new RestoreWork().handlers,
});
