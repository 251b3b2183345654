import { z } from "zod";
import { type Cluster, connectCluster, ServiceRecords, WorkstationRecords } from "../../runtime/kubernetes";
import type { Watch } from "../../runtime/waiting";

/** Inputs of every resource of a Kubernetes platform. */
export const clusterShape = {
  /** See `CommonInputs`. */
  displayUrn: z.string(),
  /** Path of the kubeconfig, relative to the program's folder, or its content, which is a secret. */
  kubeconfig: z.string().optional(),
  context: z.string().optional(),
  namespace: z.string(),
};

export const clusterServiceShape = { ...clusterShape, service: z.string() };

/** What of a resource's inputs tells where it is: its change makes another one. */
export const placeInputs = ["namespace", "service"] as const;

export interface ServiceAddress {
  readonly kubeconfig?: string | undefined;
  readonly context?: string | undefined;
  readonly namespace: string;
  readonly service: string;
}

/**
 * The record of a service, through a connection of its own: credentials are found anew for each operation.
 * @param watch hears when the API server is away, and ends the waiting for it
 */
export async function recordsOf(address: ServiceAddress, watch: Partial<Watch> = {}): Promise<ServiceRecords> {
  return new ServiceRecords(await connectCluster(address, watch), address.service);
}

export function clusterOf(address: Omit<ServiceAddress, "service">): Promise<Cluster> {
  return connectCluster(address);
}

export const workstationShape = { ...clusterShape, workstation: z.string() };

/** What of a workstation's inputs tells where it is: its change makes another one. */
export const workstationPlaceInputs = ["namespace", "workstation"] as const;

export type WorkstationAddress = Omit<ServiceAddress, "service"> & { readonly workstation: string };

/** As {@link recordsOf}, of a workstation. */
export async function workstationRecordsOf(address: WorkstationAddress): Promise<WorkstationRecords> {
  return new WorkstationRecords(await connectCluster(address), address.workstation);
}
