import { join } from "node:path";
import { settingsSchema, targetsSchema } from "./settings";
import type { GatewaySettings, Targets } from "./targets";
import { WatchedFile } from "./watched-file";

/** Where a gateway learns its targets and settings from. */
export interface TargetSource {
  /**
   * Hands over what there is now, then every change, until it is closed. Returns after the first look.
   * Fails when there are no usable settings: without them a gateway cannot tell who may come in.
   */
  start(receiver: TargetReceiver): Promise<void>;
  close(): void;
}

export interface TargetReceiver {
  readonly settings: (settings: GatewaySettings) => void;
  readonly targets: (targets: Targets) => void;
  /** What is wrong with the source; what was handed over before stays in force. */
  readonly problem: (problem: string) => void;
}

/** `settings.json` and `targets.json` in a folder, each replaced by rename. */
export class FolderTargetSource implements TargetSource {
  private files: readonly { close(): void }[] = [];

  constructor(private readonly folder: string) {}

  async start({ settings, targets, problem }: TargetReceiver): Promise<void> {
    const path = join(this.folder, "settings.json");
    let known = false;
    let evidence = "";
    const settingsFile = new WatchedFile({
      path,
      schema: settingsSchema,
      onChange: (value) => {
        known = true;
        settings(value);
      },
      onProblem: (text) => {
        evidence = text;
        problem(text);
      },
    });
    const targetsFile = new WatchedFile({
      path: join(this.folder, "targets.json"),
      schema: targetsSchema,
      onChange: targets,
      onProblem: problem,
    });
    this.files = [settingsFile, targetsFile];
    await settingsFile.start();
    if (!known) {
      this.close();
      throw new Error(`the gateway needs its settings in ${path}: ${evidence}`);
    }
    await targetsFile.start();
  }

  close(): void {
    for (const file of this.files) file.close();
  }
}
