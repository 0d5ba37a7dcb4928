"""The tuning service: google.ai.generativelanguage.v1beta on a machine of your own."""
