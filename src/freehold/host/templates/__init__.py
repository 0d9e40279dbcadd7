"""Templates: machines that were saved before they had any identity, of which a launch resumes a clone."""
