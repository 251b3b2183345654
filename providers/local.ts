import { resolve } from "node:path";
import { z } from "zod";
import {
  connectSupervisor,
  findSupervisor,
  readServiceRecords,
  type ServiceRecord,
  type ServiceState,
  type SupervisorClient,
} from "../runtime/supervisor";

/** Inputs of every resource of the local platform. */
export const localShape = {
  /** See `CommonInputs`. */
  displayUrn: z.string(),
  /** The platform's folder, relative to the program's. */
  directory: z.string(),
};

export const serviceShape = { ...localShape, service: z.string() };

export interface ServiceAddress {
  readonly directory: string;
  readonly service: string;
}

/** The supervisor of a platform's folder, started where none runs. */
export function supervisorOf({ directory }: { readonly directory: string }): Promise<SupervisorClient> {
  return connectSupervisor(resolve(directory));
}

/** The supervisor of a platform's folder if one runs: a look must start nothing. */
export function runningSupervisorOf({ directory }: { readonly directory: string }): Promise<SupervisorClient | null> {
  return findSupervisor(resolve(directory));
}

/** A service as the supervisor has it, or null when there is no such service or nothing runs. */
export async function lookUpService(address: ServiceAddress): Promise<ServiceState | null> {
  return (await (await runningSupervisorOf(address))?.service(address.service)) ?? null;
}

/** A service as the platform's folder records it, whether or not anything runs. */
export function recordedService({ directory, service }: ServiceAddress): ServiceRecord | undefined {
  return readServiceRecords(resolve(directory)).find(({ name }) => name === service);
}
