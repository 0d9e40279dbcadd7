"""Error codes of the operations on images, in alphabetical order of code.

https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

from freehold.services.ec2.errors import Malformed, NotFound
from freehold.services.errors import AwsError


class AuthFailure(AwsError):
    """The image is another account's, which lets this one launch it and no more."""

    code = "AuthFailure"
    status = 403

    def __init__(self, image_id: str) -> None:
        super().__init__(f"Not authorized for image:{image_id}")


class ImageIsPublic(AwsError):
    """Public images have no watermarks, and images with watermarks can not be made public."""

    code = "OperationNotPermitted"

    def __init__(self, image_id: str) -> None:
        super().__init__(f"Watermarks and public access of the image '{image_id}' exclude each other.")


class ImageProtected(AwsError):
    code = "OperationNotPermitted"

    def __init__(self, image_id: str) -> None:
        super().__init__(
            f"The image '{image_id}' is protected from being deregistered. Disable its deregistration protection, wait "
            "until its cooldown is over, and try again."
        )


class InvalidAMIAttributeItemValue(AwsError):
    code = "InvalidAMIAttributeItemValue"

    def __init__(self, value: str, item: str) -> None:
        super().__init__(f'Invalid attribute item value "{value}" for {item} item type.')


class InvalidAMIIDMalformed(Malformed):
    code = "InvalidAMIID.Malformed"


class InvalidAMIIDNotFound(NotFound):
    code = "InvalidAMIID.NotFound"
    noun = "image id"


class InvalidAMIIDUnavailable(AwsError):
    """It is not made yet, has failed or is disabled."""

    code = "InvalidAMIID.Unavailable"

    def __init__(self, image_id: str) -> None:
        super().__init__(f"The image id '[{image_id}]' is no longer available")


class InvalidAMINameDuplicate(AwsError):
    code = "InvalidAMIName.Duplicate"

    def __init__(self, name: str, image_id: str) -> None:
        super().__init__(f"AMI name {name} is already in use by AMI {image_id}")


class InvalidAMINameMalformed(AwsError):
    code = "InvalidAMIName.Malformed"

    def __init__(self) -> None:
        super().__init__(
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, spaces, '(', ')', "
            "'[', ']', '.', '-', '/', ''', '@' and '_'"
        )


class InvalidReplaceRootVolumeTaskIdMalformed(Malformed):
    code = "InvalidReplaceRootVolumeTaskId.Malformed"


class InvalidReplaceRootVolumeTaskIdNotFound(NotFound):
    code = "InvalidReplaceRootVolumeTaskId.NotFound"
    noun = "replace root volume task ID"


class NoPermissionForStorage(AwsError):
    """The account may launch the image, but not read its snapshots."""

    code = "InvalidRequest"

    def __init__(self) -> None:
        super().__init__("You do not have permission to access the storage of this ami")


class PublicAccessBlocked(AwsError):
    code = "OperationNotPermitted"

    def __init__(self) -> None:
        super().__init__(
            "You can't publicly share AMIs in this Region because block public access for AMIs is enabled for this "
            "account. Disable block public access for AMIs, and try again."
        )
