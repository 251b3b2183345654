import type { Activity } from "@aws-sdk/client-auto-scaling";
import { isForbidden } from "./failure";
import type { NodeGroup, NodeGroupIssue, NodeGroupState } from "./node-group";

/** Activities that are looked at: the newest, which the API gives first. */
const mostActivities = 20;

/** Codes of issues that stay until a person changes something: https://docs.aws.amazon.com/eks/latest/APIReference/API_Issue.html */
const finalIssues = new Set([
  "AmiIdNotFound",
  "AutoScalingGroupInvalidConfiguration",
  "AutoScalingGroupNotFound",
  "AutoScalingGroupOptInRequired",
  "Ec2InstanceTypeDoesNotExist",
  "Ec2LaunchTemplateInvalidConfiguration",
  "Ec2LaunchTemplateMaxLimitExceeded",
  "Ec2LaunchTemplateNotFound",
  "Ec2LaunchTemplateVersionMaxLimitExceeded",
  "Ec2LaunchTemplateVersionMismatch",
  "Ec2SecurityGroupNotFound",
  "Ec2SubnetInvalidConfiguration",
  "Ec2SubnetMissingIpv6Assignment",
  "Ec2SubnetNotFound",
  "IamInstanceProfileNotFound",
  "IamLimitExceeded",
  "IamNodeRoleNotFound",
  "InstanceLimitExceeded",
  "SourceEc2LaunchTemplateNotFound",
]);

/**
 * What EC2 says of launches that no waiting helps: a quota, or what they are made of.
 * https://docs.aws.amazon.com/autoscaling/ec2/userguide/CHAP_Troubleshooting.html
 */
const finalMessages = [
  /more vCPU capacity than your current vCPU limit/i,
  /VcpuLimitExceeded|InstanceLimitExceeded|MaxSpotInstanceCountExceeded|Max spot instance count exceeded/i,
  /not authorized to perform|UnauthorizedOperation|AuthFailure/i,
  /Invalid IAM Instance Profile|Invalid(AMIID|LaunchTemplate\w*|KeyPair|SecurityGroup|Subnet\w*|Parameter\w*)\b/i,
  /\b(AMI|image id|launch template|security group|key pair|subnet)\b.*\bdoes not exist\b/i,
  // A disk's key that the Auto Scaling group's service role may not use.
  /Client\.InternalError|Client\.InvalidKMSKey/i,
];

/** Why there are no nodes, in the cloud's own words. */
export interface LaunchFailure {
  readonly reason: string;
  /** Whether it stays so however long one waits. Missing capacity may come. */
  readonly final: boolean;
}

/** Looks for what keeps instances from being launched, of what came after it was made. */
export class LaunchFailures {
  private constructor(
    private readonly group: NodeGroup,
    /** What was known before: evidence of an earlier attempt. */
    private readonly old: { readonly activities: ReadonlySet<string>; readonly issues: ReadonlySet<string> },
  ) {}

  static async after(group: NodeGroup, state: NodeGroupState): Promise<LaunchFailures> {
    const activities = await activitiesOf(group, state);
    return new LaunchFailures(group, {
      activities: new Set(activities.map(({ ActivityId = "" }) => ActivityId)),
      issues: new Set(state.issues.map(issueText)),
    });
  }

  /** The one to tell: what is final before what may pass, the newest before older ones; null when nothing failed. */
  async look(state: NodeGroupState): Promise<LaunchFailure | null> {
    const activities = (await activitiesOf(this.group, state)).filter(
      ({ ActivityId = "" }) => !this.old.activities.has(ActivityId),
    );
    const failures = [
      ...activities.filter(({ StatusCode }) => StatusCode === "Failed").map(ofActivity),
      ...state.issues.filter((issue) => !this.old.issues.has(issueText(issue))).map(ofIssue),
    ];
    return failures.find(({ final }) => final) ?? failures[0] ?? null;
  }
}

function ofActivity({ StatusMessage = "", Description = "a launch failed" }: Activity): LaunchFailure {
  const reason = StatusMessage === "" ? Description : StatusMessage;
  return { reason, final: isFinal(reason) };
}

function ofIssue(issue: NodeGroupIssue): LaunchFailure {
  return { reason: issueText(issue), final: finalIssues.has(issue.code) || isFinal(issue.message) };
}

function issueText({ code, message }: NodeGroupIssue): string {
  return message === "" ? code : `${code}: ${message}`;
}

const isFinal = (reason: string) => finalMessages.some((pattern) => pattern.test(reason));

/** None where they may not be looked at: EKS tells the same, later and in fewer words. */
async function activitiesOf(
  { autoScaling }: NodeGroup,
  { autoScalingGroup }: NodeGroupState,
): Promise<readonly Activity[]> {
  if (autoScalingGroup === null) return [];
  try {
    const answer = await autoScaling.describeScalingActivities({
      AutoScalingGroupName: autoScalingGroup,
      MaxRecords: mostActivities,
    });
    return answer.Activities ?? [];
  } catch (error) {
    // The group itself may just have gone, which its own state tells.
    if (isForbidden(error) || (error instanceof Error && error.name === "ValidationError")) return [];
    throw error;
  }
}
