/** Whether a kubeconfig is given as its content rather than by its path. */
export function isKubeconfigContent(kubeconfig: string): boolean {
  return /\n|^\s*[{]|^\s*apiVersion\s*:/.test(kubeconfig);
}
