"""Who the caller is, whose a key is, and why a call was refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from freehold.iam import denials
from freehold.records.accounts import AccessKey
from freehold.records.ids import account_of_key_id
from freehold.services.operation import Call, Request, Response, operation
from freehold.services.sts.errors import InvalidAuthorizationMessage, ValidationError

if TYPE_CHECKING:
    from mypy_boto3_sts.type_defs import DecodeAuthorizationMessageRequestTypeDef, GetAccessKeyInfoRequestTypeDef


@operation()
def get_caller_identity(call: Call, _request: Request) -> Response:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"""
    principal = call.principal
    return {"UserId": principal.unique_id, "Account": principal.account_id, "Arn": principal.arn}


@operation()
def get_access_key_info(call: Call, request: GetAccessKeyInfoRequestTypeDef) -> Response:
    """The account that a key's id names; whether there is (still) such a key is not said.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetAccessKeyInfo.html"""
    key_id = request["AccessKeyId"]
    key = call.tx.get(AccessKey, key_id)
    account_id = key.account_id if key is not None else account_of_key_id(key_id)
    if account_id is None:
        raise ValidationError("The value of AccessKeyId is not the id of an access key.")
    return {"Account": account_id}


@operation(read_only=True)
def decode_authorization_message(call: Call, request: DecodeAuthorizationMessageRequestTypeDef) -> Response:
    """Why EC2 refused a call of this account.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html"""
    try:
        return {"DecodedMessage": denials.decode(call.sealer, call.account_id, request["EncodedMessage"])}
    except denials.InvalidMessage:
        raise InvalidAuthorizationMessage from None
