import { spawn } from "node:child_process";
import { platform } from "node:process";
import type { Surroundings } from "./surroundings";

/** Hands a URL to the desktop. Resolves when the desktop's command was started, not when the browser shows the page. */
export async function openBrowser(url: string, environment: Surroundings["environment"]): Promise<void> {
  const command = platform === "darwin" ? "open" : "xdg-open";
  await new Promise<void>((resolve, reject) => {
    const child = spawn(command, [url], { stdio: "ignore", detached: true, env: { ...environment } });
    child.once("spawn", () => {
      child.unref();
      resolve();
    });
    child.once("error", (error) =>
      reject(new Error(`cannot open ${url} in a browser: ${command} could not be started`, { cause: error })),
    );
  });
}
