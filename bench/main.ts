import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Ours } from "./commands";
import { provideCompetitors } from "./competitors";
import { experiments, measuredForMemory } from "./experiments";
import { describeMachine } from "./machine";
import { goals, Results } from "./metrics";
import { documentOf, tableOf } from "./report";
import { countIn, sayWhetherIdle, wantedOf } from "./selection";
import { provideTrees, sizeOf } from "./tree";
import { Workshop } from "./workshop";

const usage = `Usage: npm run bench [-- options]
  --json FILE     write the raw numbers of every run
  --only METRIC   measure only this, or all that start so (pack, scan.find); may be repeated
  --runs N        runs of each command (default: 5)
  --quick         one run of each command
  --profile DIR   keep nothing else: write CPU profiles of scan, pack and restore on the full tree
Metrics: ${goals.map(({ id }) => id).join(" ")}
`;

const say = (line: string) => void process.stderr.write(`${line}\n`);

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      json: { type: "string" },
      only: { type: "string", multiple: true },
      runs: { type: "string" },
      quick: { type: "boolean" },
      profile: { type: "string" },
      help: { type: "boolean" },
    },
  });
  if (values.help) return void process.stdout.write(usage);
  const rounds = values.quick ? 1 : countIn("runs", values.runs, 5);
  const wanted = wantedOf(goals, values.only ?? [], usage);
  const { BENCH_REPOSITORY: repository, BENCH_CACHE: cache, BENCH_SCRIPTS: scripts } = process.env;
  if (!repository || !cache || !scripts) throw new Error("run it as: npm run bench");

  const competitors = provideCompetitors(say);
  const trees = provideTrees(join(cache, "bench-tree"), repository, say);
  const size = { full: sizeOf(trees.full), half: sizeOf(trees.half) };
  const machine = describeMachine(cache, competitors);
  sayWhetherIdle(machine, say);
  const results = new Results(goals);
  const folder = workFolder(join(cache, "bench-work"));
  /** After each experiment: a run takes hours, and what is measured should survive its end. */
  const keep = () => {
    if (values.json === undefined) return;
    const document = documentOf(machine, { tree: size }, rounds, results.all(wanted));
    writeFileSync(values.json, `${JSON.stringify(document, null, 2)}\n`);
  };
  try {
    const ours = new Ours(repository, scripts);
    const shop = new Workshop(folder, trees, ours, results, competitors, rounds, say);
    if (values.profile !== undefined) return await profile(shop, values.profile);
    const wantsMemory = wanted("memory.peak") || wanted("memory.twice");
    for (const { name, metrics, run } of experiments) {
      const needed = wantsMemory && metrics.some((id) => measuredForMemory.includes(id));
      if (!metrics.some(wanted) && !needed) continue;
      say(name);
      try {
        await run(shop);
      } catch (error) {
        const reason = (error as Error).message.split("\n").slice(0, 6).join("\n");
        say(`  failed: ${reason}`);
        for (const id of metrics) if (!results.has(id)) results.missing(id, reason.slice(0, 400));
      }
      keep();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const measured = results.all(wanted);
  process.stdout.write(`${tableOf(measured)}\n`);
  process.stdout.write(`${measured.filter(({ met }) => met).length} of ${measured.length} goals met\n`);
}

/** Where the hot spots of each command are: profiles that a browser's developer tools open. */
async function profile(shop: Workshop, folder: string): Promise<void> {
  const flags = { NODE_OPTIONS: `--cpu-prof --cpu-prof-interval=1000 --cpu-prof-dir=${folder}` };
  const state = shop.emptyState("profiled");
  const pack = shop.ours.pack(shop.tree, state);
  const scan = shop.ours.scan(shop.tree, state);
  const profiled = async (name: string, command: typeof pack) => {
    const before = new Set(existsSync(folder) ? readdirSync(folder) : []);
    const { seconds, peakBytes, stdout } = await shop.run({ ...command, env: { ...command.env, ...flags } });
    const made = readdirSync(folder).filter((file) => !before.has(file));
    say(`${name}: ${seconds.toFixed(2)} s, ${Math.round((peakBytes ?? 0) / 1e6)} MB: ${made.join(" ")}`);
    return stdout.trim();
  };
  const reference = await profiled("first pack", pack);
  await profiled("unchanged pack", pack);
  await profiled("unchanged scan", scan);
  await profiled("cold restore", shop.ours.restore(reference, join(shop.folder, "target"), state));
}

/** A folder of this process; those that killed runs left are removed. */
function workFolder(parent: string): string {
  mkdirSync(parent, { recursive: true });
  removeAbandoned(parent, "");
  removeAbandoned("/dev/shm", "pulumi-comfyui-bench-");
  const folder = join(parent, String(process.pid));
  mkdirSync(folder);
  return folder;
}

function removeAbandoned(parent: string, prefix: string): void {
  if (!existsSync(parent)) return;
  for (const name of readdirSync(parent)) {
    const pid = name.startsWith(prefix) ? name.slice(prefix.length) : "";
    if (/^\d+$/.test(pid) && !existsSync(`/proc/${pid}`)) rmSync(join(parent, name), { recursive: true, force: true });
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
