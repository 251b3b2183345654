export {
  type Architecture,
  gpuInstanceTypes,
  type InstanceType,
  instanceType,
  unknownInstanceType,
} from "./instance-types";
export { type Purchase, type VcpuQuota, vcpuQuota } from "./quotas";
