import { AwsError } from "./errors";
import type { Activity, NodeGroups, Nodegroup } from "./node-groups";

/** The part of Auto Scaling's query API that is served: https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_Operations.html */
export function answerAutoScaling(groups: NodeGroups, parameters: URLSearchParams): string {
  const action = parameters.get("Action") ?? "";
  switch (action) {
    case "DescribeAutoScalingGroups": {
      const wanted = [...parameters]
        .filter(([key]) => key.startsWith("AutoScalingGroupNames."))
        .map(([, name]) => name);
      const found = groups
        .all()
        .filter(({ autoScalingGroup }) => autoScalingGroup !== "")
        .filter(({ autoScalingGroup }) => wanted.length === 0 || wanted.includes(autoScalingGroup));
      return result(action, `<AutoScalingGroups>${found.map(groupXml).join("")}</AutoScalingGroups>`);
    }
    case "DescribeScalingActivities": {
      const name = parameters.get("AutoScalingGroupName") ?? "";
      const group = groups.ofAutoScalingGroup(name);
      if (group === undefined) {
        throw new AwsError(400, "ValidationError", `AutoScalingGroup name not found - no such group: ${name}`);
      }
      const most = Number(parameters.get("MaxRecords") ?? "100");
      const activities = group.activities
        .slice(0, most)
        .map((activity) => `<member>${activityXml(group, activity)}</member>`);
      return result(action, `<Activities>${activities.join("")}</Activities>`);
    }
    case "TerminateInstanceInAutoScalingGroup": {
      const id = parameters.get("InstanceId") ?? "";
      const group = groups.all().find(({ instances }) => instances.has(id));
      const activity = groups.terminate(id, parameters.get("ShouldDecrementDesiredCapacity") === "true");
      return result(action, group === undefined ? "" : `<Activity>${activityXml(group, activity)}</Activity>`);
    }
    default:
      throw new AwsError(400, "InvalidAction", `the fake serves no ${action}`);
  }
}

export function errorXml({ code, message }: AwsError): string {
  return `<ErrorResponse xmlns="${namespace}"><Error><Type>Sender</Type><Code>${code}</Code><Message>${escaped(message)}</Message></Error><RequestId>0</RequestId></ErrorResponse>`;
}

const namespace = "http://autoscaling.amazonaws.com/doc/2011-01-01/";

function result(action: string, content: string): string {
  return `<${action}Response xmlns="${namespace}"><${action}Result>${content}</${action}Result><ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></${action}Response>`;
}

function groupXml({ autoScalingGroup, desired, spec, instances, created }: Nodegroup): string {
  const members = [...instances.values()].map(
    ({ id, lifecycle }) =>
      `<member><InstanceId>${id}</InstanceId><AvailabilityZone>eu-west-1a</AvailabilityZone><LifecycleState>${lifecycle}</LifecycleState><HealthStatus>Healthy</HealthStatus><ProtectedFromScaleIn>false</ProtectedFromScaleIn></member>`,
  );
  const { minSize, maxSize } = spec.scalingConfig;
  return `<member><AutoScalingGroupName>${autoScalingGroup}</AutoScalingGroupName><MinSize>${minSize}</MinSize><MaxSize>${maxSize}</MaxSize><DesiredCapacity>${desired}</DesiredCapacity><DefaultCooldown>300</DefaultCooldown><AvailabilityZones><member>eu-west-1a</member></AvailabilityZones><HealthCheckType>EC2</HealthCheckType><CreatedTime>${created.toISOString()}</CreatedTime><Instances>${members.join("")}</Instances></member>`;
}

function activityXml({ autoScalingGroup }: Nodegroup, { id, description, status, message, started }: Activity): string {
  return `<ActivityId>${id}</ActivityId><AutoScalingGroupName>${autoScalingGroup}</AutoScalingGroupName><Description>${escaped(description)}</Description><Cause>At ${started.toISOString()} a difference between desired and actual capacity was seen.</Cause><StartTime>${started.toISOString()}</StartTime><StatusCode>${status}</StatusCode><StatusMessage>${escaped(message)}</StatusMessage><Progress>100</Progress>`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
