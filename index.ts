export type { EksCluster } from "./components/aws/cluster";
export type { DevicePluginArgs } from "./components/aws/device-plugin";
export { GpuNodeGroup, type GpuNodeGroupArgs, type NodeRangeArgs } from "./components/aws/gpu-node-group";
export type { GpuAmiType, NodeDiskArgs, NodeMachineArgs, TaintArgs } from "./components/aws/node-machine-args";
export { ComfyUIProject, type ComfyUIProjectArgs } from "./components/comfyui-project";
export { DevWorkstation } from "./components/dev-workstation";
export type { DevWorkstationArgs } from "./components/dev-workstation-args";
export {
  type AlbIngress,
  type AlbIngressArgs,
  albIngress,
  type CognitoAuthenticationArgs,
  type Entrance,
  type EntranceTlsArgs,
  type NetworkLoadBalancer,
  type NetworkLoadBalancerArgs,
  networkLoadBalancer,
  type OidcAuthenticationArgs,
} from "./components/entrance";
export {
  type ClaimArgs,
  type ClaimEnvironment,
  claim,
  type Environment,
  type EnvironmentArgs,
  type WorkstationEnvironment,
} from "./components/environment";
export { OnlineService } from "./components/online-service";
export type {
  DrainArgs,
  GatewayArgs,
  GatewayServiceArgs,
  HealthArgs,
  IngressArgs,
  OnlineServiceArgs,
  Workflow,
} from "./components/online-service-args";
export {
  type AnywherePlacement,
  anywhere,
  type KarpenterArgs,
  type KarpenterPlacement,
  karpenter,
  type NodeGroupReference,
  type PerReleaseArgs,
  type PerReleasePlacement,
  type Placement,
  perRelease,
  type SharedPlacement,
  shared,
} from "./components/placement";
export {
  type KubernetesPlatform,
  type KubernetesPlatformArgs,
  kubernetes,
  type LocalPlatform,
  type LocalPlatformArgs,
  local,
  type Platform,
} from "./components/platforms";
export type { PodArgs, TolerationArgs } from "./components/pod";
export {
  type Autoscaler,
  type ExternalMetricArgs,
  externalMetric,
  type FixedScaling,
  fixed,
  type KedaArgs,
  keda,
  type PrometheusArgs,
  type RangeArgs,
  type RangeScaling,
  range,
  type Scaling,
  type SecretKeyArgs,
} from "./components/scaling";
export { type ClaimSnapshotArgs, type PackingArgs, Snapshot, type SnapshotArgs } from "./components/snapshot";
export type { S3StoreArgs, SnapshotPin, Store, StoreAccess } from "./components/store";
export type { Layout } from "./runtime/environment";
export type { Duration, Size } from "./runtime/units";
