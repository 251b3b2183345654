export { type KubernetesGatewayOptions, startKubernetesGateway } from "./start";
