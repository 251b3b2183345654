/** What {@link acceptanceScript} saw. */
export interface Seen {
  /** The version that painted, by the history that requests gave, and by the message of a WebSocket. */
  readonly http: string;
  readonly socket: string;
  /** What the second address painted with, or the status with which it refused; of no address, the service's own. */
  readonly publicly: string | number | null;
  readonly environment: Readonly<Record<string, string>>;
}

/**
 * An acceptance script for Node.js: paints at the candidate, refuses it (exit code 7) unless the version is the first argument, and writes
 * what it saw to `seen.json`. The second argument is an address at which users are.
 */
export const acceptanceScript = `
import { writeFileSync } from "node:fs";

const [wanted, publicUrl] = process.argv.slice(2);
const { COMFYUI_URL: url } = process.env;

const socket = new WebSocket(url.replace("http", "ws") + "/ws?clientId=acceptance");
await new Promise((resolve, reject) => {
  socket.onopen = resolve;
  socket.onerror = () => reject(new Error("the WebSocket does not open"));
});
const told = new Promise((resolve) => {
  socket.onmessage = ({ data }) => {
    const message = typeof data === "string" ? JSON.parse(data) : {};
    if (message.type === "executed") resolve(message.data.output.version[0]);
  };
});

async function paint(at, client_id) {
  const prompt = { 1: { class_type: "Paint", inputs: { seconds: 0, nonce: String(Math.random()) } } };
  const submitted = await fetch(at + "/prompt", { method: "POST", body: JSON.stringify({ prompt, client_id }) });
  if (!submitted.ok) return submitted.status;
  const { prompt_id } = await submitted.json();
  for (;;) {
    const history = await (await fetch(at + "/history/" + prompt_id)).json();
    if (history[prompt_id]) return history[prompt_id].outputs[1].version[0];
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const http = await paint(url, "acceptance");
const seen = { http, socket: await told, publicly: publicUrl ? await paint(publicUrl, "user") : null, environment: process.env };
socket.close();
writeFileSync("seen.json", JSON.stringify(seen));
if (http !== wanted) {
  console.error("painted by " + http + ", wanted " + wanted);
  process.exitCode = 7;
}
`;
