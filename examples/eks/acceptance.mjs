// What a new release has to pass before it gets traffic: see README.md. Anything that is thrown refuses it.
const { COMFYUI_URL: url, COMFYUI_RELEASE: release } = process.env;

const ask = async (path) => {
  const answer = await fetch(new URL(path, url));
  if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
  return answer.json();
};

const { devices } = await ask("/system_stats");
const gpus = devices.filter(({ type }) => type === "cuda");
if (gpus.length === 0) throw new Error(`${release} has no GPU: its devices are ${devices.map(({ type }) => type)}`);

/** Nodes of workflows that your users rely on. */
const needed = ["CheckpointLoaderSimple", "KSampler", "SaveImage"];
const offered = await ask("/object_info");
const missing = needed.filter((name) => offered[name] === undefined);
if (missing.length > 0) throw new Error(`${release} lacks the nodes ${missing.join(", ")}`);

console.log(`${release}: ${gpus.length} GPU, ${Object.keys(offered).length} nodes`);
