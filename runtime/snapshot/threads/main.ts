// The program of the threads that scan, pack and restore.
import { serveTasks } from "./serve";

serveTasks({
  echo: (text) => text,
});
