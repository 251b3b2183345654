import { setFlagsFromString } from "node:v8";

/**
 * V8's room for what was just allocated stays as small as it begins, instead of growing to some 100 MB: nearly nothing of what the
 * commands allocate lives for long. On a tree of 111,480 files a restore then takes 250 MB instead of 400, and no more CPU time.
 */
setFlagsFromString("--semi-space-growth-factor=1");
