mod misconfigurations;
