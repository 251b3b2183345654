import { PolicyPack, type ReportViolation } from "@pulumi/policy";
import {
  type GpuCeilings,
  gpuCeilings,
  publicServices,
  runningWorkstations,
  unpinnedSnapshots,
  type Violation,
} from "pulumi-comfyui/policy";

/** Which stacks are production; a pattern goes as well: `/^prod-/`. */
const production = ["prod", "production"];

new PolicyPack("comfyui-guardrails", {
  policies: [
    {
      name: "comfyui-no-public-service-without-authentication",
      description: "A service that is reached from outside of its cluster asks for an API key or a login.",
      enforcementLevel: "mandatory",
      validateStack: ({ resources }, report) => tell(publicServices(resources), report),
    },
    {
      name: "comfyui-no-unpinned-snapshot-in-production",
      description: "In production, a service serves a snapshot that somebody has named.",
      enforcementLevel: "mandatory",
      validateStack: ({ resources }, report) => tell(unpinnedSnapshots(resources, { production }), report),
    },
    {
      name: "comfyui-no-running-workstation-in-production",
      description: "In production, no workstation is declared running.",
      enforcementLevel: "mandatory",
      // It needs no other resource, so it is asked before anything is made.
      validateResource: (workstation, report) => tell(runningWorkstations([workstation], { production }), report),
    },
    {
      name: "comfyui-gpu-ceilings",
      description: "Services and workstations ask for no more GPUs than are meant for them, rotations included.",
      enforcementLevel: "advisory",
      configSchema: {
        properties: {
          perService: { type: "integer", minimum: 0, default: 16 },
          perStack: { type: "integer", minimum: 0, default: 32 },
        },
      },
      validateStack: ({ resources, getConfig }, report) =>
        tell(gpuCeilings(resources, getConfig<GpuCeilings>()), report),
    },
  ],
});

function tell(violations: readonly Violation[], report: ReportViolation): void {
  for (const { resource, urn, property, reason } of violations) report(`${resource}, ${property}: ${reason}`, urn);
}
