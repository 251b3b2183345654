export { type AwsPlace, clientSettings } from "./clients";
export { awsReason, isForbidden } from "./failure";
export { deleteNodeGroup, giveBack, giveBackForGood, giveBackNodes } from "./giving-back";
export { type NodeGroup, type NodeGroupState, nodeGroupName, nodeGroupOf, nodeGroupState } from "./node-group";
export { type EksWatch, NodesUnavailableError } from "./resizing";
export { type RotationCost, rotationCost } from "./rotation-cost";
export { nodesText, scaleUp } from "./scale-up";
export { trim } from "./trimming";
