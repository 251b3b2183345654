import { enableCompileCache } from "node:module";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/** Half of the time that a short command takes to start is spent on compiling. In a folder of the user's own: it holds code. */
const named = process.env.XDG_CACHE_HOME;
const caches = named !== undefined && isAbsolute(named) ? named : join(homedir(), ".cache");
enableCompileCache(join(caches, "pulumi-comfyui", "compiled"));
