export { type Architecture, gpuFamilies, type InstanceType, instanceType } from "./instance-types";
