/** The command by which components have a release tried; see `verify` of an `OnlineService`. */
export const tryingCommand = "with-candidate";

// Environment variables by which a component hands over what must not stand on a command line, since others on the machine see that. The
// command that is run gets neither of them.

/** Content of a kubeconfig, or its path, in place of `--kubeconfig`. */
export const kubeconfigVariable = "PULUMI_COMFYUI_KUBECONFIG";

/** Before the name of a variable that the command gets: so that none, PATH say, changes what runs the command. */
export const setVariablePrefix = "PULUMI_COMFYUI_SET_";
