import type * as pulumi from "@pulumi/pulumi";
import { defaultAgentImage } from "../../../providers/declarations/pod";
import type { OnlineServiceArgs } from "../../online-service-args";
import { ClusterHealthGate, ClusterRelease, ClusterServiceClaim, ClusterTrafficSwitch, owner } from "../../resources";
import { pinOf } from "../../store";
import { verifications } from "../../verification";
import type { DeclaredService, ServiceDeclaration } from "../service";
import { autoscaler } from "./autoscaler";
import { gateway } from "./gateway";
import { instances } from "./instances";
import { instancePolicy } from "./network-policy";
import { clusterInputs, nativeProvider } from "./place";
import { placed } from "./placement";
import type { KubernetesPlatform } from "./platform";
import { uidOf } from "./uid";

/** A service of pods in a namespace. */
export function kubernetesService(
  { name, args, child, declarations }: ServiceDeclaration,
  platform: KubernetesPlatform,
): DeclaredService {
  const { namespace } = platform;
  const { scaling, health, takeover, drain, verify } = args;
  const place = { ...clusterInputs(platform), service: name };

  // Its check speaks for all, so it comes before anything that talks to the cluster.
  const claim = new ClusterServiceClaim(name, { ...place, takeover, drain, owner: owner(), declarations }, child);
  const provider = nativeProvider(`${name}-cluster`, platform, { ...child, dependsOn: [claim] });
  const native: pulumi.CustomResourceOptions = { ...child, provider, dependsOn: [claim] };

  // A rotation replaces these: protecting the service protects its claim, gateway and traffic, and does not prevent rotations.
  const rotating = { ...child, protect: false };

  const image = args.pod?.agentImage ?? platform.pod?.agentImage ?? defaultAgentImage;
  const { programs } = claim;
  const front = gateway({ name, namespace, image, programs, args: args.gateway ?? {}, opts: native });
  const policy = instancePolicy(name, namespace, native);
  const { release: placement, nodes } = placed({ name, args, platform, place, claim, opts: rotating });
  const release = new ClusterRelease(
    name,
    { ...place, ...releaseInputs(args, platform), placement, owner: owner() },
    { ...rotating, dependsOn: [claim] },
  );
  const capacity = nodes(release);
  const deployment = instances({
    name,
    namespace,
    release,
    count: scaling.kind === "fixed" ? scaling.count : null,
    after: capacity === null ? [] : [capacity],
    opts: { ...rotating, provider, dependsOn: [claim] },
  });
  const common = { ...place, release: release.id };
  // Drained instances need the gateway to the end, so it goes after the gate.
  const gate = new ClusterHealthGate(
    name,
    {
      ...common,
      deployment: uidOf(deployment),
      ...(scaling.kind === "fixed"
        ? { count: scaling.count }
        : { count: release.startCount, autoscaler: scaling.by.kind }),
      // With an autoscaler of instances, there is one of nodes.
      ...(capacity !== null && scaling.kind === "fixed" ? { nodes: capacity.nodes } : {}),
      timeout: health?.timeout ?? "10m",
    },
    { ...rotating, dependsOn: [deployment, ...front.resources] },
  );
  const accepted = verifications({
    ...{ service: name, release: release.id, platform, verify },
    opts: { ...rotating, dependsOn: [gate, ...front.resources] },
  });
  // Deleted first: when it refuses, nothing goes that another stack has taken over.
  const after = [gate, ...accepted, ...front.resources, policy];
  const switched = new ClusterTrafficSwitch(name, { ...common, owner: owner() }, { ...child, dependsOn: after });
  if (scaling.kind === "range") {
    // It comes when the release serves, since before it has no prompts; and goes before the release drains, or fails to.
    const opts = { ...rotating, provider, dependsOn: [deployment, gate, switched] };
    autoscaler({ name, namespace, release: release.id, scaling, gateway: args.gateway ?? {}, opts });
  }
  return { url: front.url, release: release.id };
}

function releaseInputs(args: OnlineServiceArgs, platform: KubernetesPlatform): pulumi.Inputs {
  const { snapshot, environmentVariables, pod } = args;
  const { timeout: _, ...health } = args.health ?? {};
  const { reference, store } = pinOf(snapshot);
  return {
    snapshot: reference,
    store,
    arguments: args.arguments,
    environmentVariables,
    health,
    pod: platform.pod ?? {},
    servicePod: pod,
    scaling: args.scaling,
  };
}
