/** What every container of this package's pods has: strangers' code gets as little of as it can do with. */
export const restricted = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
};

/** The same of their pods. */
export function podSecurity(user: number) {
  return {
    runAsNonRoot: true,
    runAsUser: user,
    runAsGroup: user,
    fsGroup: user,
    fsGroupChangePolicy: "OnRootMismatch",
    seccompProfile: { type: "RuntimeDefault" },
  };
}
