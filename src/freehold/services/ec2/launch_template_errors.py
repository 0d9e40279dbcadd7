"""Error codes of launch templates.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from freehold.services.ec2.errors import Malformed, NotFound
from freehold.services.errors import AwsError


class InvalidLaunchTemplateIdMalformed(Malformed):
    code = "InvalidLaunchTemplateId.Malformed"


class InvalidLaunchTemplateIdNotFound(NotFound):
    code = "InvalidLaunchTemplateId.NotFound"
    noun = "launch template ID"

    def __init__(self, *ids: str) -> None:
        AwsError.__init__(self, f"The specified launch template, with template ID {', '.join(ids)}, does not exist.")


class InvalidLaunchTemplateIdVersionNotFound(AwsError):
    code = "InvalidLaunchTemplateId.VersionNotFound"

    def __init__(self, template_id: str, version: str) -> None:
        super().__init__(
            f"Could not find the specified version {version} for the launch template with ID {template_id}."
        )


class InvalidLaunchTemplateNameAlreadyExists(AwsError):
    code = "InvalidLaunchTemplateName.AlreadyExistsException"

    def __init__(self) -> None:
        super().__init__("Launch template name already in use.")


class InvalidLaunchTemplateNameMalformed(AwsError):
    code = "InvalidLaunchTemplateName.MalformedException"

    def __init__(self) -> None:
        super().__init__(
            "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the "
            "following characters: - ( ) . / _."
        )


class InvalidLaunchTemplateNameNotFound(AwsError):
    code = "InvalidLaunchTemplateName.NotFoundException"

    def __init__(self, *names: str) -> None:
        super().__init__(f"The specified launch template, with template name {', '.join(names)}, does not exist.")


class ResourceLimitExceeded(AwsError):
    """The account holds as many as its quota lets it."""

    code = "ResourceLimitExceeded"
