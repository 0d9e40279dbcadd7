"""The error codes of EC2 Instance Connect, one class each, in alphabetical order of code.

https://docs.aws.amazon.com/ec2-instance-connect/latest/APIReference/API_SendSSHPublicKey.html#API_SendSSHPublicKey_Errors
"""

from __future__ import annotations

from freehold.services.errors import AwsError


class InstanceNotFound(AwsError):
    code = "EC2InstanceNotFoundException"
    status = 404

    def __init__(self, instance_id: str) -> None:
        super().__init__(f"The instance '{instance_id}' was not found.")


class InstanceStateInvalid(AwsError):
    code = "EC2InstanceStateInvalidException"

    def __init__(self, instance_id: str, state: str) -> None:
        super().__init__(
            f"Unable to connect because the instance '{instance_id}' is {state}. Connecting to a stopped or terminated "
            "instance is not supported. If the instance is stopped, start your instance, and try to connect again."
        )


class InstanceUnavailable(AwsError):
    code = "EC2InstanceUnavailableException"
    status = 503

    def __init__(self, instance_id: str) -> None:
        super().__init__(f"The instance '{instance_id}' is currently unavailable. Wait a few minutes and try again.")


class InvalidArgs(AwsError):
    code = "InvalidArgsException"


class SerialConsoleAccessDisabled(AwsError):
    code = "SerialConsoleAccessDisabledException"
    status = 403

    def __init__(self) -> None:
        super().__init__(
            "Your account is not authorized to use the EC2 serial console. To authorize your account, run the "
            "EnableSerialConsoleAccess API."
        )


class SerialConsoleSessionUnsupported(AwsError):
    code = "SerialConsoleSessionUnsupportedException"

    def __init__(self) -> None:
        super().__init__(
            "Serial console sessions by SSH are not supported by this cloud: its operator joins a console by "
            "`freehold console`, and GetConsoleOutput shows what it says."
        )
