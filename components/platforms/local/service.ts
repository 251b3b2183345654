import type * as pulumi from "@pulumi/pulumi";
import { apiKeyHashes } from "../../api-keys";
import type { OnlineServiceArgs } from "../../online-service-args";
import { Gateway, HealthGate, Instances, owner, Release, ServiceClaim, TrafficSwitch } from "../../resources";
import { pinOf } from "../../store";
import { verifications } from "../../verification";
import type { DeclaredService, ServiceDeclaration } from "../service";
import type { LocalPlatform } from "./platform";

/** A service of processes on this machine. */
export function localService(
  { name, args, child, declarations }: ServiceDeclaration,
  platform: LocalPlatform,
): DeclaredService {
  const address = { directory: platform.directory, service: name };
  const { scaling, health, takeover, drain, verify } = args;
  // A range is refused by the claim's check.
  const count = scaling.kind === "fixed" ? scaling.count : scaling.min;
  const claim = new ServiceClaim(name, { ...address, takeover, drain, owner: owner(), declarations }, child);
  const afterClaim = { ...child, dependsOn: [claim] };

  // A rotation replaces these: protecting the service protects its claim, gateway and traffic, and does not prevent rotations.
  const rotating = { ...child, protect: false };

  const gateway = new Gateway(name, { ...address, ...gatewayInputs(args), owner: owner() }, afterClaim);
  const release = new Release(
    name,
    { ...address, ...releaseInputs(args), owner: owner() },
    { ...rotating, dependsOn: [claim] },
  );
  const common = { ...address, release: release.id };
  const instances = new Instances(name, { ...common, count }, rotating);
  // Drained instances need the gateway to the end, so it goes after the gate.
  const gate = new HealthGate(
    name,
    { ...common, count, timeout: health?.timeout ?? "10m" },
    { ...rotating, dependsOn: [instances, gateway] },
  );
  const accepted = verifications({
    ...{ service: name, release: release.id, platform, verify },
    opts: { ...rotating, dependsOn: [gate, gateway] },
  });
  new TrafficSwitch(name, { ...common, owner: owner() }, { ...child, dependsOn: [gate, gateway, ...accepted] });
  return { url: gateway.url, release: release.id };
}

function gatewayInputs({ gateway = {} }: OnlineServiceArgs): pulumi.Inputs {
  const { port, maximumBodySize = "100 MiB", resultRetention = "1h", maximumSpoolSize = "10 GiB" } = gateway;
  return { port, apiKeyHashes: apiKeyHashes(gateway), maximumBodySize, resultRetention, maximumSpoolSize };
}

function releaseInputs(args: OnlineServiceArgs): pulumi.Inputs {
  const { snapshot, models, environmentVariables } = args;
  const { timeout: _, ...health } = args.health ?? {};
  const { reference, store } = pinOf(snapshot);
  return { snapshot: reference, store, models, arguments: args.arguments, environmentVariables, health };
}
