"""The status codes of spot instance requests, and what they mean in EC2's words.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-request-status.html#spot-instance-request-status-understand
"""

from __future__ import annotations

from collections.abc import Mapping

MESSAGES: Mapping[str, str] = {
    "bad-parameters": "Your Spot request failed due to bad parameters.",
    "canceled-before-fulfillment": "Your Spot request is canceled before it was fulfilled.",
    "capacity-not-available": "There is no Spot capacity available that matches your request.",
    "fulfilled": "Your Spot request is fulfilled.",
    "instance-stopped-by-user": "Your Spot Instance was stopped by the user.",
    "instance-stopped-no-capacity": "Your Spot Instance was stopped because there is no longer Spot capacity "
    "available.",
    "instance-terminated-by-service": "Your Spot Instance was terminated from a stopped state by the service.",
    "instance-terminated-by-user": "Your Spot Instance was terminated by the user.",
    "instance-terminated-no-capacity": "Your Spot Instance was terminated because there is no longer Spot capacity "
    "available.",
    "marked-for-stop": "Your Spot Instance is marked for stopping.",
    "marked-for-termination": "Your Spot Instance is marked for termination.",
    "not-scheduled-yet": "Your Spot request will not be evaluated until the scheduled date.",
    "pending-evaluation": "Your Spot request has been submitted for review, and is pending evaluation.",
    "price-too-low": "Your maximum price is lower than the current Spot price.",
    "request-canceled-and-instance-running": "Your Spot request is canceled, but your instance is still running.",
    "schedule-expired": "Your Spot request expired before it was fulfilled.",
    "system-error": "There was an unexpected system error.",
}
