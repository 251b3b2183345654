import type * as pulumi from "@pulumi/pulumi";
import type { DevWorkstationArgs } from "../../dev-workstation-args";
import { environmentOf } from "../../environment";
import { owner, Workstation } from "../../resources";
import { pinOf } from "../../store";
import type { DeclaredWorkstation, WorkstationDeclaration } from "../workstation";
import type { LocalPlatform } from "./platform";

/** A process of this machine. */
export function localWorkstation(
  { name, args, child, declarations }: WorkstationDeclaration,
  platform: LocalPlatform,
): DeclaredWorkstation {
  const inputs = inputsOf(name, args, platform);
  const { url } = new Workstation(name, { ...inputs, declarations, owner: owner() }, child);
  const { directory } = platform;
  const from = inputs.from === undefined ? {} : { from: inputs.from, fromStore: inputs.fromStore };
  return { url, declaration: { directory, name, state: args.state ?? "running", ...from } };
}

/** The arguments as the provider takes them. */
function inputsOf(name: string, args: DevWorkstationArgs, { directory }: LocalPlatform): pulumi.Inputs {
  const { environment, startTimeout = "10m", stopTimeout = "10m" } = args;
  const { reference, store } = args.from === undefined ? {} : pinOf(args.from);
  return {
    directory,
    workstation: name,
    environment: environmentOf(environment),
    from: reference,
    fromStore: store,
    state: args.state,
    port: args.port,
    arguments: args.arguments,
    environmentVariables: args.environmentVariables,
    startTimeout,
    stopTimeout,
  };
}
