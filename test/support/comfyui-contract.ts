import { z } from "zod";

/** docs/comfyui-contract.md as data: what ComfyUI 0.3.64 was recorded to answer, send and print. */

const id = z.string();
/** Milliseconds since 1970. */
const timestamp = z.int().positive();
const number = z.number();
/** Anything that JSON has, as a node gave it. */
const anything = z.unknown();
const anyRecord = z.record(z.string(), anything);

/** A workflow in API format. */
export const workflow = z.record(z.string(), z.looseObject({ class_type: z.string(), inputs: anyRecord }));

/** `[number, prompt_id, prompt, extra_data, outputs_to_execute]`, in `/queue` and in the history. */
export const queueItem = z.tuple([number, id, workflow, anyRecord, z.array(id)]);

export const queueInfo = z.strictObject({ exec_info: z.strictObject({ queue_remaining: z.int().nonnegative() }) });

const started = z.strictObject({ prompt_id: id, timestamp });
const cached = z.strictObject({ nodes: z.array(id), prompt_id: id, timestamp });
const interrupted = z.strictObject({
  prompt_id: id,
  node_id: id,
  node_type: z.string(),
  executed: z.array(id),
  timestamp,
});
const failed = z.strictObject({
  prompt_id: id,
  node_id: id,
  node_type: z.string(),
  executed: z.array(id),
  exception_message: z.string().endsWith("\n"),
  exception_type: z.string(),
  traceback: z.array(z.string().startsWith("  File ")).min(1),
  current_inputs: z.record(z.string(), z.array(anything)),
  current_outputs: z.array(id),
  timestamp,
});

/** A message as the history keeps it: name and data. */
export const historyMessage = z.union([
  z.tuple([z.literal("execution_start"), started]),
  z.tuple([z.literal("execution_cached"), cached]),
  z.tuple([z.literal("execution_success"), started]),
  z.tuple([z.literal("execution_error"), failed]),
  z.tuple([z.literal("execution_interrupted"), interrupted]),
]);

/** An entry of `/history` and `/history/{prompt_id}`. */
export const historyEntry = z.strictObject({
  prompt: queueItem,
  outputs: z.record(id, z.record(z.string(), z.array(anything))),
  status: z.strictObject({
    status_str: z.enum(["success", "error"]),
    completed: z.boolean(),
    messages: z.array(historyMessage),
  }),
  meta: z.record(id, z.strictObject({ node_id: id, display_node: id, parent_node: id.nullable(), real_node_id: id })),
});

export const history = z.record(id, historyEntry);

/** A picture among a node's outputs. */
export const savedImage = z.strictObject({
  filename: z.string().endsWith(".png"),
  subfolder: z.string(),
  type: z.enum(["output", "temp", "input"]),
});

const problem = z.strictObject({
  type: z.string(),
  message: z.string(),
  details: z.string(),
  extra_info: anyRecord,
});

export const nodeErrors = z.record(
  id,
  z.strictObject({ errors: z.array(problem).min(1), dependent_outputs: z.array(id).min(1), class_type: z.string() }),
);

/** `POST /prompt` with 200. */
export const acceptedPrompt = z.strictObject({ prompt_id: id, number, node_errors: nodeErrors });

/** `POST /prompt` with 400. */
export const refusedPrompt = z.strictObject({ error: problem, node_errors: nodeErrors });

const declaredInputs = z.record(z.string(), anything);

/** What `/object_info` says of a class. */
export const classInfo = z.strictObject({
  input: z.strictObject({
    required: declaredInputs.optional(),
    optional: declaredInputs.optional(),
    hidden: declaredInputs.optional(),
  }),
  input_order: z.partialRecord(z.enum(["required", "optional", "hidden"]), z.array(z.string())),
  output: z.array(anything),
  output_is_list: z.array(z.boolean()),
  output_name: z.array(z.string()),
  name: z.string(),
  display_name: z.string(),
  description: z.string(),
  python_module: z.string().regex(/^(?:nodes|comfy_extras\..+|custom_nodes\..+)$/),
  category: z.string(),
  output_node: z.boolean(),
  output_tooltips: z.array(z.string().nullable()).optional(),
  deprecated: z.boolean().optional(),
  experimental: z.boolean().optional(),
  api_node: z.boolean().optional(),
});

const bytes = z.int().nonnegative();

/** Answers of `GET`, by path. */
export const answers = {
  "/system_stats": z.strictObject({
    system: z.strictObject({
      os: z.string(),
      ram_total: bytes,
      ram_free: bytes,
      comfyui_version: z.string(),
      required_frontend_version: z.string(),
      installed_templates_version: z.string(),
      required_templates_version: z.string(),
      python_version: z.string(),
      pytorch_version: z.string(),
      embedded_python: z.boolean(),
      argv: z.array(z.string()),
    }),
    devices: z.array(
      z.strictObject({
        name: z.string(),
        type: z.string(),
        index: z.int().nullable(),
        vram_total: bytes,
        vram_free: bytes,
        torch_vram_total: bytes,
        torch_vram_free: bytes,
      }),
    ),
  }),
  "/prompt": queueInfo,
  "/queue": z.strictObject({ queue_running: z.array(queueItem), queue_pending: z.array(queueItem) }),
  "/history": history,
  "/object_info": z.record(z.string(), classInfo),
  "/features": z.strictObject({ supports_preview_metadata: z.boolean(), max_upload_size: z.int() }),
  "/extensions": z.array(z.string().startsWith("/extensions/")),
  "/embeddings": z.array(z.string()),
  "/models": z.array(z.string()),
  "/models/checkpoints": z.array(z.string()),
  "/experiment/models": z.array(z.strictObject({ name: z.string(), folders: z.array(z.string()) })),
  "/users": z.strictObject({ storage: z.literal("server"), migrated: z.boolean() }),
  "/settings": anyRecord,
  "/internal/logs": z.string(),
  "/internal/logs/raw": z.strictObject({
    entries: z.array(z.strictObject({ t: z.iso.datetime({ local: true }), m: z.string() })).max(300),
    size: z.strictObject({ cols: z.int(), rows: z.int() }),
  }),
  "/internal/folder_paths": z.record(z.string(), z.array(z.string())),
} as const;

const json = "application/json; charset=utf-8";
const none = "application/octet-stream";

/** What an idle server answers: method, path, status, content type. */
export const endpoints: readonly (readonly [string, string, number, string | null])[] = [
  ["GET", "/", 200, "text/html"],
  ["GET", "/api", 404, none],
  ["GET", "/api/", 200, "text/html"],
  ["GET", "/system_stats", 200, json],
  ["GET", "/api/system_stats", 200, json],
  ["HEAD", "/system_stats", 200, json],
  ["GET", "/prompt", 200, json],
  ["GET", "/api/prompt", 200, json],
  ["OPTIONS", "/prompt", 200, null],
  ["PUT", "/prompt", 405, "text/plain; charset=utf-8"],
  ["GET", "/queue", 200, json],
  ["GET", "/api/queue", 200, json],
  ["GET", "/history", 200, json],
  ["GET", "/api/history", 200, json],
  ["GET", "/history/00000000-0000-0000-0000-000000000000", 200, json],
  ["GET", "/object_info", 200, json],
  ["GET", "/object_info/EmptyImage", 200, json],
  ["GET", "/object_info/NoSuchClass", 200, json],
  ["GET", "/extensions", 200, json],
  ["GET", "/api/extensions", 200, json],
  ["GET", "/features", 200, json],
  ["GET", "/embeddings", 200, json],
  ["GET", "/models", 200, json],
  ["GET", "/models/checkpoints", 200, json],
  ["GET", "/experiment/models", 200, json],
  ["GET", "/users", 200, json],
  ["GET", "/settings", 200, json],
  ["GET", "/userdata?dir=workflows", 404, "text/plain; charset=utf-8"],
  ["GET", "/workflow_templates", 200, json],
  ["GET", "/i18n", 200, json],
  ["GET", "/internal/logs", 200, json],
  ["GET", "/api/internal/logs", 404, none],
  ["GET", "/internal/logs/raw", 200, json],
  ["GET", "/internal/folder_paths", 200, json],
  ["GET", "/view?filename=none.png", 404, null],
  ["GET", "/ws", 400, "text/plain; charset=utf-8"],
  ["GET", "/interrupt", 404, none],
  ["GET", "/free", 404, none],
  ["GET", "/health", 404, none],
  ["GET", "/api/jobs", 404, none],
  ["GET", "/no_such_path", 404, none],
];

/** Headers of a request, and the status that they lead to. `{port}` is the server's. */
export const origins: readonly (readonly [Readonly<Record<string, string>>, number])[] = [
  [{ origin: "http://example.com" }, 403],
  [{ origin: "http://127.0.0.1:{port}" }, 200],
  [{ origin: "http://example.com", host: "comfy.example.com" }, 200],
  [{ host: "comfy.example.com" }, 200],
];

const nodeState = z.strictObject({
  value: number,
  max: number,
  state: z.enum(["pending", "running", "finished"]),
  node_id: id,
  prompt_id: id,
  display_node_id: id,
  parent_node_id: id.nullable(),
  real_node_id: id,
});

/** Every message on a WebSocket. */
export const message = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("status"), data: z.strictObject({ status: queueInfo, sid: id.optional() }) }),
  z.strictObject({ type: z.literal("feature_flags"), data: answers["/features"] }),
  z.strictObject({ type: z.literal("execution_start"), data: started }),
  z.strictObject({ type: z.literal("execution_cached"), data: cached }),
  z.strictObject({
    type: z.literal("progress_state"),
    data: z.strictObject({ prompt_id: id, nodes: z.record(id, nodeState) }),
  }),
  z.strictObject({
    type: z.literal("executing"),
    data: z.strictObject({ node: id.nullable(), display_node: id.optional(), prompt_id: id }),
  }),
  z.strictObject({
    type: z.literal("progress"),
    data: z.strictObject({ value: number, max: number, prompt_id: id, node: id }),
  }),
  z.strictObject({
    type: z.literal("executed"),
    data: z.strictObject({ node: id, display_node: id, output: anyRecord.nullable(), prompt_id: id }),
  }),
  z.strictObject({ type: z.literal("execution_success"), data: started }),
  z.strictObject({ type: z.literal("execution_error"), data: failed }),
  z.strictObject({ type: z.literal("execution_interrupted"), data: interrupted }),
  z.strictObject({
    type: z.literal("logs"),
    data: z.strictObject({
      entries: z.array(z.strictObject({ t: z.string(), m: z.string() })),
      size: z.strictObject({ cols: z.int(), rows: z.int() }).nullable(),
    }),
  }),
]);

/**
 * The order of a prompt's messages on the socket of its client, as a regular expression over their types, each followed
 * by a space. The two `status` at the beginning are the prompt's coming and its starting; several prompts at once put
 * further ones in between.
 */
export const orderOfMessages = new RegExp(
  [
    "^(?:status ){2}execution_start execution_cached ",
    // A cached output is only shown again; another node runs.
    "(?:executed progress_state |progress_state executing (?:progress_state progress )*(?:executed )?progress_state )*",
    "(?:execution_success|progress_state executing (?:progress_state progress )*(?:execution_error|execution_interrupted)) ",
    "status executing $",
  ].join(""),
);

/** Lines of the process's output, each for what it says. */
export const logForms = {
  comfyuiVersion: /^ComfyUI version: \d+\.\d+\.\d+\S*$/m,
  pythonVersion: /^Python version: 3\.\d+\.\d+ .*/m,
  beforePlugins: /^ComfyUI frontend version: \S+\n\[Prompt Server\] web root: \S+$/m,
  importTable: /^\nImport times for custom nodes:\n(?: *\d+\.\d seconds(?: \(IMPORT FAILED\))?: \/.+\n)+\n/m,
  prestartupTable:
    /^\nPrestartup times for custom nodes:\n(?: *\d+\.\d seconds(?: \(PRESTARTUP FAILED\))?: \/.+\n)+\n/m,
  cannotImport:
    /^Traceback \(most recent call last\):\n(?: {2}.*\n)+\w+(?:Error|Exception).*\n\nCannot import \/.+ module for custom nodes: .+$/m,
  noMappings:
    /^Skip \/.+ module for custom nodes due to the lack of NODE_CLASS_MAPPINGS or NODES_LIST \(need one\)\.$/m,
  entrypointFailed: /^Error while calling comfy_entrypoint in \/.+: .+$/m,
  prestartupFailed: /^Failed to execute startup-script: \/.+\/prestartup_script\.py \/ .+$/m,
  skipped: /^Skipping \S+ due to disable_all_custom_nodes and whitelist_custom_nodes$/m,
  skippedAll: /^Skipping loading of custom nodes$/m,
  listening: /^Starting server\n\nTo see the GUI go to: http:\/\/127\.0\.0\.1:\d+$/m,
  promptCame: /^got prompt$/m,
  promptRan: /^Prompt executed in \d+\.\d\d seconds$/m,
  promptRefused: /^invalid prompt: \{'type': '\w+', 'message': .*\}$/m,
  nodeFailed: /^!!! Exception during processing !!! .+\nTraceback \(most recent call last\):\n/m,
  interrupted: /^Processing interrupted$/m,
  otherOrigin: /^WARNING: request with non matching host and origin \S+ != \S+, returning 403$/m,
  stopped: /^\nStopped server$/m,
} as const;
